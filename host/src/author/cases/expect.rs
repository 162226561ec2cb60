//! The expectation of a case, and how it is recorded from an outcome.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weft_core::context::{Condition, Event};
use weft_core::object::Fields;
use weft_core::verdict::Word;

use crate::author::cases::contains::updated;
use crate::author::cases::{Outcome, Patch};

/// The expectation of a case. Keys that are missing are not compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The verdict.
    pub verdict: Word,
    /// The whole object, without weft's annotations and without owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Fields>,
    /// A part of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<Fields>,
    /// Some of the object's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Some of the object's annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The plugin's changes to the draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
    /// Reason of the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Field of the problem: `spec.x[0]` or `/spec/x/0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// All events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<ExpectedEvent>>,
    /// All conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<ExpectedCondition>>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedEvent {
    /// `Normal` or `Warning`.
    pub r#type: EventType,
    /// In CamelCase.
    pub reason: String,
    /// For people; not compared if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// For information.
    Normal,
    /// Something is wrong.
    Warning,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedCondition {
    /// The name that the plugin returned, or the whole type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In CamelCase.
    pub reason: String,
    /// For people; not compared if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Expect {
    /// The verdict alone.
    pub fn verdict(verdict: Word) -> Self {
        Self {
            verdict,
            object: None,
            contains: None,
            labels: None,
            annotations: None,
            patch: None,
            reason: None,
            field: None,
            events: None,
            conditions: None,
        }
    }

    /// Everything in `outcome`.
    pub fn of(outcome: &Outcome) -> Self {
        let problem = outcome.problem.as_ref();
        let is_unchanged = outcome.verdict == Word::Apply && outcome.is_unchanged;
        Self {
            verdict: outcome.verdict,
            object: outcome.object.clone(),
            contains: None,
            labels: None,
            annotations: None,
            patch: is_unchanged.then_some(Patch::None),
            reason: problem.map(|problem| problem.reason.clone()),
            field: problem.and_then(|problem| problem.field.clone()),
            events: list(&outcome.events),
            conditions: list(&outcome.conditions),
        }
    }
}

/// The expectation for `outcome`, with the keys that `before` has.
pub fn blessed(before: &Expect, outcome: &Outcome) -> Expect {
    let now = Expect::of(outcome);
    let object = now.object.as_ref();
    let metadata = |field: &str, before: &Option<BTreeMap<String, String>>| {
        Some(updated_metadata(field, before.as_ref()?, object?))
    };
    Expect {
        verdict: now.verdict,
        contains: before.contains.as_ref().zip(object).map(|(before, object)| updated(before, object)),
        labels: metadata("labels", &before.labels),
        annotations: metadata("annotations", &before.annotations),
        object: now.object.filter(|_| before.object.is_some()),
        patch: before.patch.as_ref().and_then(|_| Patch::of(outcome)),
        reason: now.reason,
        field: now.field,
        events: before.events.as_ref().map(|_| now.events.unwrap_or_default()),
        conditions: before.conditions.as_ref().map(|_| now.conditions.unwrap_or_default()),
    }
}

/// The YAML of a case with its expectation replaced by `expect`; comments elsewhere stay.
pub fn replace_expect(text: &str, expect: &Expect) -> String {
    #[derive(Serialize)]
    struct Part<'a> {
        expect: &'a Expect,
    }
    let part = serde_saphyr::to_string(&Part { expect }).unwrap_or_default();
    let mut result = String::with_capacity(text.len());
    let mut is_inside = false;
    for line in text.split_inclusive('\n') {
        let begins = line.starts_with(|c: char| !c.is_whitespace() && !matches!(c, '#' | '-' | '}' | ']'));
        if line.starts_with("expect:") {
            is_inside = true;
            result.push_str(&part);
        } else if !is_inside || begins {
            is_inside = false;
            result.push_str(line);
        }
    }
    result
}

/// The same labels or annotations with their values in the object.
fn updated_metadata(
    field: &str,
    before: &BTreeMap<String, String>,
    object: &Fields,
) -> BTreeMap<String, String> {
    let found = object.get("metadata").and_then(|metadata| metadata.get(field));
    let value = |key: &String| found?.get(key)?.as_str().map(|value| (key.clone(), value.to_owned()));
    before.keys().filter_map(value).collect()
}

fn list<'a, T, E: From<&'a T>>(items: &'a [T]) -> Option<Vec<E>> {
    (!items.is_empty()).then(|| items.iter().map(E::from).collect())
}

impl From<&Event> for ExpectedEvent {
    fn from(event: &Event) -> Self {
        Self {
            r#type: if event.is_warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason.clone(),
            message: Some(event.message.clone()),
        }
    }
}

impl From<&Condition> for ExpectedCondition {
    fn from(condition: &Condition) -> Self {
        Self {
            r#type: condition.kind.rsplit('/').next().unwrap_or(&condition.kind).to_owned(),
            status: condition.status.to_owned(),
            reason: condition.reason.clone(),
            message: Some(condition.message.clone()),
        }
    }
}

/// As JSON, for messages.
pub(super) fn shown<T: Serialize>(items: &[T]) -> String {
    serde_json::to_value(items).map_or_else(|_| String::new(), |value: Value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(text: &str) -> Expect {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn only_the_expectation_is_replaced() {
        let text = "# why\ncall: to-host\nexpect:\n  verdict: apply\n  # gone\n  labels: {a: b}\n# stays\nsettings: {}\n";
        let result = replace_expect(text, &expect("{verdict: skip, reason: Off}"));
        let wanted = "# why\ncall: to-host\nexpect:\n  verdict: skip\n  reason: \"Off\"\nsettings: {}\n";
        assert_eq!(result.replace("reason: Off", "reason: \"Off\""), wanted);
    }

    #[test]
    fn expected_labels_are_updated_and_no_others_are_added() {
        let labels =
            BTreeMap::from([("team".to_owned(), "a".to_owned()), ("gone".to_owned(), "x".to_owned())]);
        let object = serde_json::json!({"metadata": {"labels": {"team": "b", "app": "c"}}});
        let found = updated_metadata("labels", &labels, object.as_object().unwrap());
        assert_eq!(found, BTreeMap::from([("team".to_owned(), "b".to_owned())]));
    }
}
