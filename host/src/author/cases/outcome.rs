//! The outcome of a case: the verdict, and what belongs to it.

use std::time::Duration;

use serde_json::Value;
use weft_core::context::{Condition, Event};
use weft_core::edit::Edit;
use weft_core::extension::Answer;
use weft_core::object::Fields;
use weft_core::verdict::{By, Hold, Problem, Word};

use crate::author::trace::{Call, Trace};

/// The outcome of a case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Word,
    /// The draft that the plugin was given; without a call, the draft of the common part.
    pub draft: Fields,
    /// The draft with the plugin's edit, whether weft would write it or not.
    pub wanted: Option<Fields>,
    /// The object that weft would write.
    pub object: Option<Fields>,
    /// Whether the plugin left the draft as it was.
    pub is_unchanged: bool,
    /// Why nothing is written.
    pub problem: Option<Problem>,
    /// Events that the plugin emits.
    pub events: Vec<Event>,
    /// Conditions that the plugin sets.
    pub conditions: Vec<Condition>,
    /// Duration of the call, from the request to the answer; none if the plugin was not called.
    pub took: Option<Duration>,
}

/// Two runs of one case must have the same outcome; durations are not compared.
impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        let parts = |outcome: &Self| {
            let Self { verdict, object, is_unchanged, problem, events, conditions, .. } = outcome.clone();
            (verdict, object, is_unchanged, problem, events, conditions)
        };
        parts(self) == parts(other)
    }
}

impl Outcome {
    /// The outcome of `plugin` in `trace`.
    pub fn of(trace: Trace, plugin: &str) -> Self {
        let Trace { draft, mut calls, result, .. } = trace;
        let Some(index) = calls.iter().position(|call| call.plugin == plugin) else {
            return Self::without_call(draft, result);
        };
        let call = calls.swap_remove(index);
        let (verdict, problem) = judge(&call, result.as_ref().err());
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
            problem,
            events,
            conditions,
            took: Some(call.took),
        }
    }

    /// `plugin` refused its settings, so it was not called.
    pub(super) fn refused_settings(plugin: &str, message: &str) -> Self {
        let problem = Problem::of(By::Plugin(plugin.to_owned()), "PluginSettings", message);
        Self::without_call(Fields::new(), Err(Hold::Fail(problem)))
    }

    /// An earlier rule has decided, so the plugin was not called.
    fn without_call(draft: Fields, result: Result<Fields, Hold>) -> Self {
        Self {
            verdict: Word::of(&result),
            draft,
            wanted: None,
            problem: result.as_ref().err().map(|hold| hold.problem().clone()),
            object: result.ok().map(plain),
            is_unchanged: true,
            events: Vec::new(),
            conditions: Vec::new(),
            took: None,
        }
    }
}

/// The verdict on a call, from the plugin's answer, the guard's refusal, and the result of the whole translation.
fn judge(call: &Call, hold: Option<&Hold>) -> (Word, Option<Problem>) {
    let answer = match (&call.refusal, &call.answer) {
        // The guard always names a field; an edit that does not fit the draft has none.
        (Some(refusal), _) if refusal.field.is_some() => {
            return (Word::Refused, Some(refusal.problem(&call.plugin)));
        }
        (Some(failure), _) | (None, Err(failure)) => {
            return (Word::Fail, Some(failure.problem(&call.plugin)));
        }
        (None, Ok(answer)) => answer,
    };
    match (&answer.verdict, hold) {
        (Ok(_), None) => (Word::Apply, None),
        (Ok(_), Some(hold)) | (Err(hold), _) => (hold.word(), Some(hold.problem().clone())),
    }
}

/// The problem in one line. A plugin's begins with its reason, which is the plugin's own.
pub fn with_reason(problem: &Problem) -> String {
    match problem.by.plugin() {
        Some(_) => format!("{}: {problem}", problem.reason),
        None => problem.to_string(),
    }
}

fn is_unchanged(call: &Call) -> bool {
    match &call.answer {
        Ok(Answer { verdict: Ok(Edit::Unchanged), .. }) => true,
        _ => call.result().is_some_and(|result| result == call.draft),
    }
}

/// The object without weft's own annotations and the owner, which do not depend on a rule.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::trace;
    use serde_json::json;
    use weft_core::context::Notes;
    use weft_core::extension::Failure;

    fn fields(value: &Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    fn call(answer: Result<Answer, Failure>) -> Call {
        let (plugin, draft) = ("labels".to_owned(), fields(&json!({"a": 1})));
        Call { plugin, draft, answer, refusal: None, took: Duration::from_micros(5) }
    }

    fn edit(edit: Edit) -> Call {
        call(Ok(Answer { verdict: Ok(edit), events: Vec::new(), conditions: None }))
    }

    fn outcome(call: Call, result: Result<Fields, Hold>) -> Outcome {
        let draft = fields(&json!({"common": 1}));
        let (base, source) = (trace::By::Builtin("Pod".to_owned()), Fields::new());
        let trace = Trace { base, source, draft, calls: vec![call], result, notes: Notes::default() };
        Outcome::of(trace, "labels")
    }

    fn of_plugin(reason: &str) -> Problem {
        Problem::of(By::Plugin("labels".to_owned()), reason, "no")
    }

    #[test]
    fn an_edit_that_changes_nothing_is_applied_and_unchanged() {
        for same in [Edit::Unchanged, Edit::Merge(json!({"a": 1}))] {
            let found = outcome(edit(same), Ok(fields(&json!({"a": 1}))));
            assert_eq!((found.verdict, found.is_unchanged, found.problem), (Word::Apply, true, None));
            assert_eq!(found.object, Some(fields(&json!({"a": 1}))));
        }
        let found = outcome(edit(Edit::Merge(json!({"a": 2}))), Ok(fields(&json!({"a": 2}))));
        assert_eq!((found.verdict, found.is_unchanged), (Word::Apply, false));
        assert_eq!(found.wanted, Some(fields(&json!({"a": 2}))));
    }

    #[test]
    fn a_refusal_with_a_field_is_the_guards_and_one_without_is_a_failure() {
        let hold = || Err(Hold::Fail(of_plugin("PluginRefused")));
        let refused = |failure: Failure| Call { refusal: Some(failure), ..edit(Edit::Unchanged) };
        let guard = Failure::new("PluginRefused", "it is not yours").about("spec.x");
        let found = outcome(refused(guard), hold());
        assert_eq!(found.verdict, Word::Refused);
        assert_eq!(found.problem.unwrap().field.as_deref(), Some("spec.x"));
        let unfit = Failure::new("PluginEditUnfit", "there is no /a");
        assert_eq!(outcome(refused(unfit), hold()).verdict, Word::Fail);
        assert_eq!(outcome(call(Err(Failure::new("PluginTrapped", "x"))), hold()).verdict, Word::Fail);
    }

    #[test]
    fn without_a_call_the_verdict_is_that_of_the_earlier_rule() {
        let mut other = edit(Edit::Unchanged);
        other.plugin = "other".to_owned();
        let found = outcome(other, Err(Hold::absent("it stays here")));
        assert_eq!((found.verdict, found.took), (Word::Absent, None));
        assert_eq!(found.draft, fields(&json!({"common": 1})));
        assert_eq!(found.problem.unwrap().why, "it stays here");
    }

    #[test]
    fn durations_do_not_make_two_outcomes_different() {
        let first = outcome(edit(Edit::Unchanged), Ok(Fields::new()));
        let second = Outcome { took: Some(Duration::from_secs(1)), ..first.clone() };
        assert_eq!(first, second);
        assert_ne!(first, Outcome { verdict: Word::Skip, ..second });
    }

    #[test]
    fn only_a_plugins_problem_begins_with_its_reason() {
        assert_eq!(with_reason(&of_plugin("Bad")), "Bad: no (plugin labels)");
        assert_eq!(with_reason(&Problem::of(By::Mapper, "Waiting", "no address yet")), "no address yet");
    }

    #[test]
    fn wefts_own_annotations_and_the_owner_are_left_out() {
        let object =
            json!({"metadata": {"name": "a", "ownerReferences": [], "annotations": {"weft.dev/x": "1"}}});
        assert_eq!(plain(fields(&object)), fields(&json!({"metadata": {"name": "a"}})));
        let object = json!({"metadata": {"annotations": {"weft.dev/x": "1", "a/b": "2"}}});
        assert_eq!(plain(fields(&object)), fields(&json!({"metadata": {"annotations": {"a/b": "2"}}})));
    }
}
