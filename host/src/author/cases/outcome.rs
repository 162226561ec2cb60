//! What has come of a call: one word, and what belongs to it.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use weft_core::context::{Condition, Event};
use weft_core::edit::Edit;
use weft_core::extension::{Answer, Failure};
use weft_core::object::Fields;
pub use weft_core::verdict::Word;
use weft_core::verdict::{By, Hold, Problem};

use crate::author::trace::{Call, Trace};

/// What has come of a call.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// In one word.
    pub verdict: Word,
    /// What the plugin was given; what there was without it, where it was not called.
    pub draft: Fields,
    /// What the plugin made of it, whether that is written or not.
    pub wanted: Option<Fields>,
    /// The object that would be written.
    pub object: Option<Fields>,
    /// Whether the plugin left the draft as it was.
    pub is_unchanged: bool,
    /// Why nothing is written.
    pub told: Option<Told>,
    /// Events that the plugin wants to be told.
    pub events: Vec<Event>,
    /// Conditions that the plugin wants to be set.
    pub conditions: Vec<Condition>,
    /// Time of the call, from the request to the answer; none where there was no call.
    pub took: Option<Duration>,
}

/// Why nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Stable, in CamelCase; empty where weft itself says it.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field, in Kubernetes notation.
    pub at: Option<String>,
}

/// Two answers to one question have to be the same; the time does not count.
impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        let parts = |outcome: &Self| {
            let Self { verdict, object, is_unchanged, told, events, conditions, .. } = outcome.clone();
            (verdict, object, is_unchanged, told, events, conditions)
        };
        parts(self) == parts(other)
    }
}

impl Outcome {
    /// What `trace` shows of `plugin`.
    pub fn of(trace: Trace, plugin: &str) -> Self {
        let Trace { draft, mut calls, result, .. } = trace;
        let Some(index) = calls.iter().position(|call| call.plugin == plugin) else {
            return Self::without_call(draft, result);
        };
        let call = calls.swap_remove(index);
        let (verdict, told) = judge(&call, result.as_ref().err());
        let (wanted, is_unchanged) = (call.wanted().map(plain), is_unchanged(&call));
        let (events, conditions) = match call.answer {
            Ok(answer) => (answer.events, answer.conditions.unwrap_or_default()),
            Err(_) => (Vec::new(), Vec::new()),
        };
        let object = result.ok().filter(|_| verdict == Word::Apply).map(plain);
        Self {
            verdict,
            draft: call.draft,
            wanted,
            object,
            is_unchanged,
            told,
            events,
            conditions,
            took: Some(call.took),
        }
    }

    /// The plugin did not take its settings, so it was not asked.
    pub(super) fn refused_settings(message: &str) -> Self {
        let told = Told { reason: "PluginSettings".to_owned(), message: message.to_owned(), at: None };
        Self {
            verdict: Word::Fail,
            told: Some(told),
            ..Self::without_call(Fields::new(), Err(Hold::absent(message)))
        }
    }

    /// The rules before it have decided already.
    fn without_call(draft: Fields, result: Result<Fields, Hold>) -> Self {
        let (verdict, told) = match &result {
            Ok(_) => (Word::Apply, None),
            Err(hold) => held(hold),
        };
        Self {
            verdict,
            draft,
            wanted: None,
            object: result.ok().map(plain),
            is_unchanged: true,
            told,
            events: Vec::new(),
            conditions: Vec::new(),
            took: None,
        }
    }
}

/// The word for what the plugin said, what the guard said of it, and what weft says of the result.
fn judge(call: &Call, hold: Option<&Hold>) -> (Word, Option<Told>) {
    let failure = |failure: &Failure| Told {
        reason: failure.reason.to_owned(),
        message: failure.why.clone(),
        at: failure.field.clone(),
    };
    let answer = match (&call.refusal, &call.answer) {
        // The guard always names a field; an edit that does not fit the draft has none.
        (Some(refusal), _) if refusal.field.is_some() => return (Word::Refused, Some(failure(refusal))),
        (Some(refusal), _) => return (Word::Fail, Some(failure(refusal))),
        (None, Err(error)) => return (Word::Fail, Some(failure(error))),
        (None, Ok(answer)) => answer,
    };
    match (&answer.verdict, hold) {
        (Ok(_), None) => (Word::Apply, None),
        (Ok(_), Some(hold)) | (Err(hold), _) => held(hold),
    }
}

/// The word for why nothing is written, and what is told of it.
fn held(hold: &Hold) -> (Word, Option<Told>) {
    let problem = hold.problem();
    let told = match &problem.by {
        By::Plugin(_) => Some(Told::from(problem)),
        // That weft keeps an object in the virtual cluster needs no words.
        By::Guard | By::Mapper if hold.word() == Word::Absent => None,
        By::Guard | By::Mapper => Some(Told { reason: String::new(), ..Told::from(problem) }),
    };
    (hold.word(), told)
}

fn is_unchanged(call: &Call) -> bool {
    match &call.answer {
        Ok(Answer { verdict: Ok(Edit::Unchanged), .. }) => true,
        _ => call.result().is_some_and(|result| result == call.draft),
    }
}

/// The object without what says nothing about a rule: weft's own annotations and the owner.
pub fn plain(mut object: Fields) -> Fields {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("ownerReferences");
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        let is_empty = annotations.is_some_and(|annotations| {
            annotations.retain(|key, _| !key.starts_with(weft_core::keys::PREFIX));
            annotations.is_empty()
        });
        if is_empty {
            metadata.remove("annotations");
        }
    }
    object
}

impl From<&Problem> for Told {
    fn from(problem: &Problem) -> Self {
        Self { reason: problem.reason.clone(), message: problem.why.clone(), at: problem.field.clone() }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [Some(&self.reason).filter(|reason| !reason.is_empty()), self.at.as_ref()];
        for part in parts.into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.message)
    }
}
