//! What a guest returns, whatever it is: it keeps to the bounds of the interface, and nothing of it passes what is granted.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use weft_core::context::Ctx;
use weft_core::extension::{Answer, Extension, Failure, OnFailure, Request, Terms};
use weft_core::keys::PLUGIN_CONDITIONS;
use weft_core::translate;
use weft_core::verdict::{Hold, Problem};

use crate::answer::check_identity;
use crate::bindings::weft::mapping::types;
use crate::cases::World;
use crate::config::grants::Entry;
use crate::object::{admitted, check};
use crate::plugin::{GUEST, convert_answer, convert_descriptor};

/// What the interface promises to keep at most.
const MESSAGE: usize = 1024;
const FIELD: usize = 256;
const REASON: usize = 64;
const REPORTED: usize = 8;
const AWAITED: usize = 64;
const NAME: usize = 253;

/// What comes back of calls, in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Returned {
    /// Of the rule for an object.
    Outcome { object: Value, outcome: types::Outcome },
    /// Of the component as a whole.
    Descriptor { descriptor: types::Descriptor },
}

pub(crate) fn target(data: &[u8]) {
    match serde_json::from_slice(data) {
        Ok(Returned::Outcome { object, outcome }) => check_outcome(object, &outcome),
        Ok(Returned::Descriptor { descriptor }) => check_descriptor(descriptor),
        Err(_) => {}
    }
}

fn check_outcome(object: Value, outcome: &types::Outcome) {
    let answer = convert_answer(outcome);
    match &answer {
        Ok(answer) => check_answer(answer),
        Err(failure) => assert!(failure.reason.starts_with("PluginEdit"), "{failure:?}"),
    }
    let Some((mapper, source)) = admitted(object) else { return };
    let world = World::new(Vec::new());
    let ctx = world.ctx();
    let chain = crate::lies::followed(mapper.clone(), Arc::new(Guest::new(answer)));
    let Ok(fair) = translate::to_host(&ctx, mapper.as_ref(), &source) else { return };
    let Ok(result) = translate::to_host(&ctx, &chain, &source) else { return };
    check(&ctx, mapper.as_ref(), &result);
    check_identity(&fair, &result);
}

/// A plugin that answers always the same, and may write the spec.
struct Guest {
    terms: Terms,
    answer: Result<Answer, Failure>,
}

impl Guest {
    fn new(answer: Result<Answer, Failure>) -> Self {
        let terms = Terms {
            to_host: true,
            to_virtual: true,
            host_writes: vec!["/spec".to_owned()],
            virtual_writes: vec!["/status".to_owned()],
            on_failure: OnFailure::Hold,
        };
        Self { terms, answer }
    }
}

impl Extension for Guest {
    fn name(&self) -> &'static str {
        GUEST
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn call(&self, _: &Ctx<'_>, _: &Request<'_>) -> Result<Answer, Failure> {
        self.answer.clone()
    }

    fn refused(&self, _: &Failure) {}
}

fn check_answer(answer: &Answer) {
    match &answer.verdict {
        Ok(_) => {}
        Err(Hold::Wait(wait)) => {
            check_problem(&wait.problem);
            let longest = wait.until.iter().map(|key| key.name.name.len().max(key.kind.as_str().len())).max();
            assert!(wait.until.len() <= AWAITED && longest.is_none_or(|longest| longest <= 3 * NAME));
            assert!(!wait.until.is_empty() || wait.after.is_some(), "nothing would wake it");
            assert!(wait.after.is_none_or(|after| after >= Duration::from_secs(1)), "{wait:?}");
        }
        Err(hold) => check_problem(hold.problem()),
    }
    assert!(answer.events.len() <= REPORTED);
    for event in &answer.events {
        assert_eq!(event.by.plugin(), Some(GUEST));
        check_reason(&event.reason);
        check_text(&event.message, MESSAGE);
    }
    let conditions = answer.conditions.as_deref().unwrap_or_default();
    assert!(conditions.len() <= REPORTED);
    for condition in conditions {
        let own = condition.kind.strip_prefix(GUEST).and_then(|rest| rest.strip_prefix(PLUGIN_CONDITIONS));
        assert!(own.is_some(), "{} is another's", condition.kind);
        check_reason(&condition.reason);
        check_text(&condition.message, MESSAGE);
    }
}

fn check_problem(problem: &Problem) {
    assert_eq!(problem.by.plugin(), Some(GUEST));
    check_reason(&problem.reason);
    check_text(&problem.why, MESSAGE);
    check_text(problem.field.as_deref().unwrap_or_default(), FIELD);
}

/// As the API takes it.
fn check_reason(reason: &str) {
    let is_one =
        (1..=REASON).contains(&reason.len()) && reason.chars().all(|one| one.is_ascii_alphanumeric());
    assert!(is_one, "{reason:?} is no reason");
}

/// It is one line, and no longer than is kept.
fn check_text(text: &str, longest: usize) {
    assert!(text.len() <= longest && !text.contains(char::is_control), "{text:?}");
}

/// Whoever is granted nothing, and lacks nothing, gets nothing.
fn check_descriptor(descriptor: types::Descriptor) {
    let descriptor = convert_descriptor(descriptor);
    check_text(&descriptor.version, REASON);
    check_text(&descriptor.summary, MESSAGE);
    let granted_nothing = Entry::default();
    if let Err(invalid) = descriptor.check() {
        assert!(!invalid.field.is_empty() && !invalid.why.is_empty(), "{invalid}");
        return;
    }
    let missing = descriptor.missing_grants(&granted_nothing);
    let requested = descriptor.mappings.len() + descriptor.lookups.len();
    assert!(missing.len() >= requested, "{missing:?} is all that {descriptor:?} lacks");
}
