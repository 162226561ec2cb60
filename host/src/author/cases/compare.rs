//! Compares the outcome of a case with the expectation.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_core::confine::field_name;
use weft_core::context::{Condition, Event};
use weft_core::object::Fields;
use weft_core::verdict::Word;

use crate::author::cases::contains::misses;
use crate::author::cases::expect::{Expect, ExpectedCondition, ExpectedEvent, shown};
use crate::author::cases::outcome::{plain, with_reason};
use crate::author::cases::{Outcome, Patch};

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// In a value or a list.
    Value {
        /// The key of `expect`.
        key: &'static str,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// In the object.
    Object {
        /// What was expected.
        expected: Fields,
        /// What was found.
        found: Fields,
    },
}

/// The differences between `expect` and `outcome`.
pub fn compare(expect: &Expect, outcome: &Outcome) -> Vec<Difference> {
    let mut differences = Vec::new();
    if expect.verdict != outcome.verdict {
        let why = outcome.problem.as_ref().map(|problem| format!(": {}", with_reason(problem)));
        let found = format!("{}{}", outcome.verdict, why.unwrap_or_default());
        differences.push(value("verdict", expect.verdict.to_string(), found));
        // All other differences follow from it.
        return differences;
    }
    let object = outcome.object.as_ref();
    differences.extend(expect.patch.as_ref().and_then(|patch| compare_patch(patch, outcome)));
    differences.extend(compare_problems(expect, outcome));
    differences.extend(compare_metadata("labels", expect.labels.as_ref(), object));
    differences.extend(compare_metadata("annotations", expect.annotations.as_ref(), object));
    differences.extend(compare_contents(expect.contains.as_ref(), object));
    differences.extend(compare_objects(expect.object.as_ref(), object));
    differences.extend(compare_lists(expect, outcome));
    differences
}

fn compare_problems(expect: &Expect, outcome: &Outcome) -> Vec<Difference> {
    let found = outcome.problem.as_ref();
    let found_reason = found.map(|problem| problem.reason.clone()).unwrap_or_default();
    let found_field = found.and_then(|problem| problem.field.clone()).unwrap_or_default();
    let reason = expect.reason.clone().map(|expected| value("reason", expected, found_reason));
    let field = expect.field.as_deref().map(|expected| value("field", notation(expected), found_field));
    reason.into_iter().chain(field).filter(Difference::is_one).collect()
}

/// A field in Kubernetes notation, which may be given as a pointer.
fn notation(field: &str) -> String {
    if field.starts_with('/') { field_name(field) } else { field.to_owned() }
}

fn compare_patch(expected: &Patch, outcome: &Outcome) -> Option<Difference> {
    if *expected == Patch::None {
        let is_none = outcome.is_unchanged && outcome.verdict == Word::Apply;
        let found = || value("patch", "none".to_owned(), "the plugin changes the draft".to_owned());
        return (!is_none).then(found);
    }
    let Some(found) = outcome.wanted.clone() else {
        let found = "the plugin makes no object".to_owned();
        return Some(value("patch", "changes of the draft".to_owned(), found));
    };
    match expected.apply(&outcome.draft).map(plain) {
        Ok(expected) => (expected != found).then_some(Difference::Object { expected, found }),
        Err(why) => Some(value("patch", "operations that fit the draft".to_owned(), why)),
    }
}

/// Labels or annotations.
fn compare_metadata(
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
    (!expected.iter().all(has)).then(|| value(key, wanted, shown))
}

/// One difference for each field: an object may be long, and the expectation short.
fn compare_contents(expected: Option<&Fields>, object: Option<&Fields>) -> Vec<Difference> {
    let Some(expected) = expected else { return Vec::new() };
    let Some(object) = object else {
        return vec![value("contains", "an object".to_owned(), "none is written".to_owned())];
    };
    let difference = |(expected, found): (String, String)| value("contains", expected, found);
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
        differences.push(value("events", shown(expected), shown(&found)));
    }
    if let Some(expected) = &expect.conditions
        && !fit(expected, &outcome.conditions, is_condition)
    {
        let found: Vec<ExpectedCondition> = outcome.conditions.iter().map(ExpectedCondition::from).collect();
        differences.push(value("conditions", shown(expected), shown(&found)));
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

fn value(key: &'static str, expected: String, found: String) -> Difference {
    Difference::Value { key, expected, found }
}

impl Difference {
    fn is_one(&self) -> bool {
        match self {
            Self::Value { expected, found, .. } => expected != found,
            Self::Object { expected, found } => expected != found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weft_core::verdict::{By, Problem};

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
            problem: None,
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
        assert!(matches!(&differences[..], [Difference::Value { key: "labels", .. }]), "{differences:?}");
    }

    #[test]
    fn annotations_are_a_subset() {
        let found = outcome(Word::Apply, &json!({"metadata": {"annotations": {"a/b": "c", "d": "e"}}}));
        assert_eq!(compare(&expect("{verdict: apply, annotations: {a/b: c}}"), &found), []);
        let differences = compare(&expect("{verdict: apply, annotations: {a/b: x}}"), &found);
        let shown = value("annotations", r#"{"a/b":"x"}"#.to_owned(), r#"{"a/b":"c","d":"e"}"#.to_owned());
        assert_eq!(differences, [shown]);
    }

    #[test]
    fn contents_are_compared_field_by_field() {
        let containers = json!([{"name": "main", "image": "new"}]);
        let found = outcome(Word::Apply, &json!({"spec": {"containers": containers, "x": 1}}));
        let same = "{verdict: apply, contains: {spec: {containers: [{image: new}]}}}";
        assert_eq!(compare(&expect(same), &found), []);
        let other = "{verdict: apply, contains: {spec: {containers: [{image: old}], x: 2}}}";
        let image = ("spec.containers[0].image: \"old\"", "spec.containers[0].image: \"new\"");
        let differences = [image, ("spec.x: 2", "spec.x: 1")]
            .map(|(expected, found)| value("contains", expected.to_owned(), found.to_owned()));
        assert_eq!(compare(&expect(other), &found), differences);
        let nothing = outcome(Word::Skip, &Value::Null);
        assert_eq!(compare(&expect("{verdict: skip, contains: {}}"), &nothing).len(), 1);
    }

    #[test]
    fn a_patch_is_compared_by_its_result_whatever_the_form_of_the_edit() {
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
            assert!(matches!(&differences[..], [Difference::Value { key: "patch", .. }]), "{differences:?}");
        }
        let blessed = crate::author::cases::blessed(&other, &found);
        assert_eq!(compare(&blessed, &found), []);
        assert!(matches!(&blessed.patch, Some(Patch::Operations(list)) if list.len() == 1), "{blessed:?}");
    }

    #[test]
    fn objects_are_compared_without_wefts_own_metadata() {
        let found = outcome(Word::Apply, &json!({"metadata": {"name": "a"}, "spec": {"x": 1}}));
        let same = "{verdict: apply, object: {metadata: {name: a, ownerReferences: [], annotations: {weft.dev/digest: x}}, spec: {x: 1}}}";
        assert_eq!(compare(&expect(same), &found), []);
        let less = compare(&expect("{verdict: apply, object: {metadata: {name: a}}}"), &found);
        assert!(matches!(&less[..], [Difference::Object { .. }]), "{less:?}");
    }

    #[test]
    fn another_verdict_is_the_only_difference_and_shows_its_reason() {
        let mut found = outcome(Word::Reject, &Value::Null);
        let problem = Problem::of(By::Plugin("labels".to_owned()), "Bad", "no");
        found.problem = Some(Problem { field: Some("spec.x[0]".to_owned()), ..problem });
        let differences = compare(&expect("{verdict: apply, labels: {a: b}}"), &found);
        assert_eq!(
            differences,
            [value("verdict", "apply".to_owned(), "reject: Bad: spec.x[0]: no (plugin labels)".to_owned())]
        );
        assert_eq!(compare(&expect("{verdict: reject, reason: Bad, field: /spec/x/0}"), &found), []);
    }

    #[test]
    fn messages_of_events_are_compared_if_they_are_given() {
        let mut found = outcome(Word::Apply, &json!({}));
        found.events.push(Event {
            by: By::Plugin("p".to_owned()),
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
