//! Whether what has come of a case is what was expected, and where it is not.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_core::confine::field_name;
use weft_core::context::{Condition, Event};
use weft_core::object::Fields;

use crate::author::cases::contains::misses;
use crate::author::cases::expect::{Expect, ExpectedCondition, ExpectedEvent, shown};
use crate::author::cases::outcome::plain;
use crate::author::cases::{Outcome, Patch, Word};

/// One place where they differ.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// In a word or a list.
    Text {
        /// The key of `expect`.
        key: &'static str,
        /// What was expected.
        expected: String,
        /// What has come.
        found: String,
    },
    /// In the object.
    Object {
        /// What was expected.
        expected: Fields,
        /// What has come.
        found: Fields,
    },
}

/// Where `outcome` differs from `expect`.
pub fn compare(expect: &Expect, outcome: &Outcome) -> Vec<Difference> {
    let mut differences = Vec::new();
    if expect.verdict != outcome.verdict {
        let found = outcome.told.as_ref().map_or_else(String::new, |told| format!(" ({told})"));
        let found = format!("{}{found}", outcome.verdict);
        differences.push(text("verdict", expect.verdict.to_string(), found));
        // The rest only repeats it.
        return differences;
    }
    let object = outcome.object.as_ref();
    differences.extend(expect.patch.as_ref().and_then(|patch| compare_patch(patch, outcome)));
    differences.extend(compare_told(expect, outcome));
    differences.extend(compare_texts("labels", expect.labels.as_ref(), object));
    differences.extend(compare_texts("annotations", expect.annotations.as_ref(), object));
    differences.extend(compare_contents(expect.contains.as_ref(), object));
    differences.extend(compare_objects(expect.object.as_ref(), object));
    differences.extend(compare_lists(expect, outcome));
    differences
}

fn compare_told(expect: &Expect, outcome: &Outcome) -> Vec<Difference> {
    let told = outcome.told.as_ref();
    let found_reason = told.map(|told| told.reason.clone()).unwrap_or_default();
    let found_at = told.and_then(|told| told.at.clone()).unwrap_or_default();
    let reason = expect.reason.clone().map(|expected| text("reason", expected, found_reason));
    let at = expect.at.as_deref().map(|expected| text("at", field(expected), found_at));
    reason.into_iter().chain(at).filter(Difference::is_one).collect()
}

/// A pointer as a field; a field as it is.
fn field(text: &str) -> String {
    if text.starts_with('/') { field_name(text) } else { text.to_owned() }
}

fn compare_patch(expected: &Patch, outcome: &Outcome) -> Option<Difference> {
    if *expected == Patch::None {
        let is_none = outcome.is_unchanged && outcome.verdict == Word::Apply;
        let found = || text("patch", "none".to_owned(), "the plugin changes the draft".to_owned());
        return (!is_none).then(found);
    }
    let Some(found) = outcome.wanted.clone() else {
        let found = "the plugin makes no object".to_owned();
        return Some(text("patch", "changes of the draft".to_owned(), found));
    };
    match expected.apply(&outcome.draft).map(plain) {
        Ok(expected) => (expected != found).then_some(Difference::Object { expected, found }),
        Err(why) => Some(text("patch", "operations that fit the draft".to_owned(), why)),
    }
}

/// Labels or annotations.
fn compare_texts(
    key: &'static str,
    expected: Option<&BTreeMap<String, String>>,
    object: Option<&Fields>,
) -> Option<Difference> {
    let expected = expected?;
    let found = object.and_then(|object| object.get("metadata")?.get(key));
    let has = |(name, value): (&String, &String)| {
        found.and_then(|found| found.get(name)).and_then(Value::as_str) == Some(value)
    };
    let shown = found.map_or_else(|| "none".to_owned(), Value::to_string);
    let wanted = serde_json::to_string(expected).unwrap_or_default();
    (!expected.iter().all(has)).then(|| text(key, wanted, shown))
}

/// Each place is told alone: an object may be long, and what is expected of it short.
fn compare_contents(expected: Option<&Fields>, object: Option<&Fields>) -> Vec<Difference> {
    let Some(expected) = expected else { return Vec::new() };
    let Some(object) = object else {
        return vec![text("contains", "an object".to_owned(), "none is written".to_owned())];
    };
    let difference = |(expected, found): (String, String)| text("contains", expected, found);
    misses(expected, object).iter().map(|miss| difference(miss.sides())).collect()
}

fn compare_objects(expected: Option<&Fields>, found: Option<&Fields>) -> Option<Difference> {
    let expected = plain(expected?.clone());
    let found = found.cloned().unwrap_or_default();
    (expected != found).then_some(Difference::Object { expected, found })
}

fn compare_lists(expect: &Expect, outcome: &Outcome) -> Vec<Difference> {
    let mut differences = Vec::new();
    if let Some(expected) = &expect.events
        && !fit(expected, &outcome.events, is_event)
    {
        let found: Vec<ExpectedEvent> = outcome.events.iter().map(ExpectedEvent::from).collect();
        differences.push(text("events", shown(expected), shown(&found)));
    }
    if let Some(expected) = &expect.conditions
        && !fit(expected, &outcome.conditions, is_condition)
    {
        let found: Vec<ExpectedCondition> = outcome.conditions.iter().map(ExpectedCondition::from).collect();
        differences.push(text("conditions", shown(expected), shown(&found)));
    }
    differences
}

fn fit<E, F>(expected: &[E], found: &[F], is: impl Fn(&E, &F) -> bool) -> bool {
    expected.len() == found.len() && expected.iter().zip(found).all(|(expected, found)| is(expected, found))
}

fn is_event(expected: &ExpectedEvent, event: &Event) -> bool {
    let found = ExpectedEvent::from(event);
    let message = expected.message.as_ref().or(found.message.as_ref());
    (expected.r#type, &expected.reason, message) == (found.r#type, &found.reason, found.message.as_ref())
}

fn is_condition(expected: &ExpectedCondition, condition: &Condition) -> bool {
    let found = ExpectedCondition::from(condition);
    let is_type = expected.r#type == found.r#type || expected.r#type == condition.kind;
    let message = expected.message.as_ref().or(found.message.as_ref());
    is_type
        && (&expected.status, &expected.reason, message)
            == (&found.status, &found.reason, found.message.as_ref())
}

fn text(key: &'static str, expected: String, found: String) -> Difference {
    Difference::Text { key, expected, found }
}

impl Difference {
    fn is_one(&self) -> bool {
        match self {
            Self::Text { expected, found, .. } => expected != found,
            Self::Object { expected, found } => expected != found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::cases::Told;
    use serde_json::json;

    fn expect(text: &str) -> Expect {
        serde_saphyr::from_str(text).unwrap()
    }

    fn outcome(verdict: Word, object: &Value) -> Outcome {
        Outcome {
            verdict,
            draft: Fields::new(),
            wanted: None,
            object: object.as_object().cloned(),
            is_unchanged: false,
            told: None,
            events: Vec::new(),
            conditions: Vec::new(),
            took: None,
        }
    }

    #[test]
    fn labels_are_a_subset() {
        let found = outcome(Word::Apply, &json!({"metadata": {"labels": {"team": "web", "app": "a"}}}));
        assert_eq!(compare(&expect("{verdict: apply, labels: {team: web}}"), &found), []);
        let differences = compare(&expect("{verdict: apply, labels: {team: shop}}"), &found);
        assert!(matches!(&differences[..], [Difference::Text { key: "labels", .. }]), "{differences:?}");
    }

    #[test]
    fn annotations_are_a_subset() {
        let found = outcome(Word::Apply, &json!({"metadata": {"annotations": {"a/b": "c", "d": "e"}}}));
        assert_eq!(compare(&expect("{verdict: apply, annotations: {a/b: c}}"), &found), []);
        let differences = compare(&expect("{verdict: apply, annotations: {a/b: x}}"), &found);
        let shown = text("annotations", r#"{"a/b":"x"}"#.to_owned(), r#"{"a/b":"c","d":"e"}"#.to_owned());
        assert_eq!(differences, [shown]);
    }

    #[test]
    fn what_an_object_contains_is_compared_place_by_place() {
        let containers = json!([{"name": "main", "image": "new"}]);
        let found = outcome(Word::Apply, &json!({"spec": {"containers": containers, "x": 1}}));
        let same = "{verdict: apply, contains: {spec: {containers: [{image: new}]}}}";
        assert_eq!(compare(&expect(same), &found), []);
        let other = "{verdict: apply, contains: {spec: {containers: [{image: old}], x: 2}}}";
        let image = ("spec.containers[0].image: \"old\"", "spec.containers[0].image: \"new\"");
        let differences = [image, ("spec.x: 2", "spec.x: 1")]
            .map(|(expected, found)| text("contains", expected.to_owned(), found.to_owned()));
        assert_eq!(compare(&expect(other), &found), differences);
        let nothing = outcome(Word::Skip, &Value::Null);
        assert_eq!(compare(&expect("{verdict: skip, contains: {}}"), &nothing).len(), 1);
    }

    #[test]
    fn a_patch_says_what_the_plugin_makes_of_the_draft_in_whatever_form_it_says_so() {
        let mut found = outcome(Word::Apply, &json!({"a": 2}));
        found.draft = json!({"a": 1}).as_object().unwrap().clone();
        found.wanted = found.object.clone();
        for same in ["{op: replace, path: /a, value: 2}", "{op: add, path: /a, value: 2}"] {
            assert_eq!(compare(&expect(&format!("{{verdict: apply, patch: [{same}]}}")), &found), []);
        }
        let other = expect("{verdict: apply, patch: [{op: remove, path: /a}]}");
        assert!(matches!(&compare(&other, &found)[..], [Difference::Object { .. }]));
        for unlike in ["none", "[{op: remove, path: /b}]"] {
            let differences = compare(&expect(&format!("{{verdict: apply, patch: {unlike}}}")), &found);
            assert!(matches!(&differences[..], [Difference::Text { key: "patch", .. }]), "{differences:?}");
        }
        let blessed = crate::author::cases::blessed(&other, &found);
        assert_eq!(compare(&blessed, &found), []);
        assert!(matches!(&blessed.patch, Some(Patch::Operations(list)) if list.len() == 1), "{blessed:?}");
    }

    #[test]
    fn an_object_is_compared_whole_but_for_what_is_wefts_own() {
        let found = outcome(Word::Apply, &json!({"metadata": {"name": "a"}, "spec": {"x": 1}}));
        let same = "{verdict: apply, object: {metadata: {name: a, ownerReferences: [], annotations: {weft.dev/digest: x}}, spec: {x: 1}}}";
        assert_eq!(compare(&expect(same), &found), []);
        let less = compare(&expect("{verdict: apply, object: {metadata: {name: a}}}"), &found);
        assert!(matches!(&less[..], [Difference::Object { .. }]), "{less:?}");
    }

    #[test]
    fn another_verdict_is_told_with_its_reason_and_nothing_else() {
        let mut found = outcome(Word::Reject, &Value::Null);
        let at = Some("spec.x[0]".to_owned());
        found.told = Some(Told { reason: "Bad".to_owned(), message: "no".to_owned(), at });
        let differences = compare(&expect("{verdict: apply, labels: {a: b}}"), &found);
        assert_eq!(
            differences,
            [text("verdict", "apply".to_owned(), "reject (Bad: spec.x[0]: no)".to_owned())]
        );
        assert_eq!(compare(&expect("{verdict: reject, reason: Bad, at: /spec/x/0}"), &found), []);
    }

    #[test]
    fn messages_of_events_count_where_they_are_given() {
        let mut found = outcome(Word::Apply, &json!({}));
        found.events.push(Event {
            by: "p".to_owned(),
            is_warning: true,
            reason: "Old".to_owned(),
            message: "it is old".to_owned(),
        });
        assert_eq!(compare(&expect("{verdict: apply, events: [{type: Warning, reason: Old}]}"), &found), []);
        let other = expect("{verdict: apply, events: [{type: Warning, reason: Old, message: new}]}");
        assert_eq!(compare(&other, &found).len(), 1);
        assert_eq!(compare(&expect("{verdict: apply, events: []}"), &found).len(), 1);
    }
}
