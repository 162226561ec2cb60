//! What has come of a call: one word, and what belongs to it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_core::context::{Condition, Event, Problem};
use weft_core::edit::Edit;
use weft_core::extension::{Answer, Failure, Verdict};
use weft_core::object::Fields;
use weft_core::verdict::Hold;

use crate::plugin::witness::{Call, Trace};

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

/// What has come of a call, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The object is written.
    Apply,
    /// The other side stays as it is.
    Skip,
    /// The other side must not have the object.
    Absent,
    /// Something else comes first.
    Wait,
    /// The tenant has to change the object.
    Reject,
    /// It did not work.
    Fail,
    /// The guard did not let it pass.
    Refused,
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
        Self { verdict: Word::Fail, told: Some(told), ..Self::without_call(Fields::new(), Err(Hold::Absent)) }
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
    let (word, problem) = match &answer.verdict {
        Verdict::Apply(_) => return hold.map_or((Word::Apply, None), held),
        Verdict::Skip(problem) => (Word::Skip, problem),
        Verdict::Absent(problem) => (Word::Absent, problem),
        Verdict::Wait { problem, .. } => (Word::Wait, problem),
        Verdict::Reject(problem) => (Word::Reject, problem),
        Verdict::Fail(problem) => (Word::Fail, problem),
    };
    (word, Some(Told::from(problem)))
}

/// The word for what weft itself says.
fn held(hold: &Hold) -> (Word, Option<Told>) {
    let told = |message: &str, at: Option<&String>| {
        Some(Told { reason: String::new(), message: message.to_owned(), at: at.cloned() })
    };
    match hold {
        Hold::Absent => (Word::Absent, None),
        Hold::Wait { why, .. } => (Word::Wait, told(why, None)),
        Hold::Refuse { field, why } => (Word::Refused, told(why, Some(field))),
        Hold::Reject(problem) => (Word::Reject, Some(problem.into())),
        Hold::Skip(problem) => (Word::Skip, Some(problem.into())),
        Hold::Fail(problem) => (Word::Fail, Some(problem.into())),
    }
}

fn is_unchanged(call: &Call) -> bool {
    match &call.answer {
        Ok(Answer { verdict: Verdict::Apply(Edit::Unchanged), .. }) => true,
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

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apply => "apply",
            Self::Skip => "skip",
            Self::Absent => "absent",
            Self::Wait => "wait",
            Self::Reject => "reject",
            Self::Fail => "fail",
            Self::Refused => "refused",
        })
    }
}
