//! Traces a translation: the input and the result of every rule.

mod tracer;

use std::fmt;
use std::time::Duration;

use weft_core::context::Notes;
use weft_core::extension::{Answer, Failure};
use weft_core::keys::{APPLIED, DIGEST, WANTED};
use weft_core::object::Fields;
use weft_core::verdict::Hold;

pub(super) use tracer::{Tracer, draft};

/// A trace of one translation.
pub struct Trace {
    /// Who has the base rule of the kind, before plugins that run after it.
    pub base: By,
    /// The object that is translated, without fields that are never synced in this direction.
    pub source: Fields,
    /// The draft of the common part, before the first rule.
    pub draft: Fields,
    /// The calls of plugins, in order.
    pub calls: Vec<Call>,
    /// The object that weft would write, or why it writes none.
    pub result: Result<Fields, Hold>,
    /// Events, conditions and failures of the rules.
    pub notes: Notes,
}

/// One call of a plugin.
pub struct Call {
    /// Name of the plugin.
    pub plugin: String,
    /// The draft that it was given.
    pub draft: Fields,
    /// Its answer.
    pub answer: Result<Answer, Failure>,
    /// Why its edit was refused.
    pub refusal: Option<Failure>,
    /// Duration from the request to the answer, including serialisation, instantiation and settings.
    pub took: Duration,
}

/// A step from the source to the result.
pub struct Stage {
    /// Who made it.
    pub by: By,
    /// The object before it.
    pub before: Fields,
    /// The object after it.
    pub after: Fields,
}

/// Who changes objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The part that is the same for every kind: names, labels, references, and fields that are synced back.
    Common,
    /// The built-in rule of a kind.
    Builtin(String),
    /// `mappings` of the configuration.
    Declared(String),
    /// A plugin.
    Plugin(String),
}

impl Trace {
    /// The steps from the source to the result, as far as the translation got, without steps that change nothing.
    pub fn stages(&self) -> Vec<Stage> {
        let mut path = Path { now: self.source.clone(), stages: Vec::new() };
        path.go(By::Common, self.draft.clone());
        for call in &self.calls {
            // A change between two calls was made by the base rule.
            path.go(self.base.clone(), call.draft.clone());
            if let Some(after) = call.result() {
                path.go(By::Plugin(call.plugin.clone()), after);
            }
        }
        if let Ok(result) = &self.result {
            path.go(self.base.clone(), unsigned(result.clone()));
            path.go(By::Common, result.clone());
        }
        path.stages
    }
}

/// Collects the steps between versions of one object.
struct Path {
    now: Fields,
    stages: Vec<Stage>,
}

impl Path {
    fn go(&mut self, by: By, after: Fields) {
        if self.now != after {
            let before = std::mem::replace(&mut self.now, after.clone());
            self.stages.push(Stage { by, before, after });
        }
    }
}

impl Call {
    /// The draft with the edit, if it was applied.
    pub fn result(&self) -> Option<Fields> {
        self.wanted().filter(|_| self.refusal.is_none())
    }

    /// The draft with the edit, if it applies to the draft.
    pub fn wanted(&self) -> Option<Fields> {
        match &self.answer {
            Ok(Answer { verdict: Ok(edit), .. }) => edit.apply(&self.draft).ok(),
            _ => None,
        }
    }
}

/// The result without the two annotations that are added at the very end.
fn unsigned(mut result: Fields) -> Fields {
    if let Some(annotations) = annotations_mut(&mut result) {
        annotations.remove(DIGEST);
        annotations.remove(APPLIED);
        annotations.remove(WANTED);
    }
    result
}

fn annotations_mut(object: &mut Fields) -> Option<&mut Fields> {
    object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Common => f.write_str("common part"),
            Self::Builtin(kind) => write!(f, "built-in {kind}"),
            Self::Declared(kind) => write!(f, "declared {kind}"),
            Self::Plugin(name) => write!(f, "plugin {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use weft_core::edit::Edit;

    fn fields(value: &Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    fn call(draft: &Value, edit: &Value) -> Call {
        let answer = Answer { verdict: Ok(Edit::Whole(fields(edit))), events: Vec::new(), conditions: None };
        let (plugin, draft) = ("labels".to_owned(), fields(draft));
        Call { plugin, draft, answer: Ok(answer), refusal: None, took: Duration::ZERO }
    }

    fn trace(calls: Vec<Call>, result: Result<Fields, Hold>) -> Trace {
        let (source, draft) = (fields(&json!({"v": 0})), fields(&json!({"v": 1})));
        let base = By::Builtin("Pod".to_owned());
        Trace { base, source, draft, calls, result, notes: Notes::default() }
    }

    fn stages(trace: &Trace) -> Vec<(String, Value)> {
        trace.stages().iter().map(|stage| (stage.by.to_string(), stage.after["v"].clone())).collect()
    }

    fn stage(by: &str, value: u8) -> (String, Value) {
        (by.to_owned(), json!(value))
    }

    #[test]
    fn a_change_between_two_calls_is_that_of_the_base_rule() {
        let call = call(&json!({"v": 2}), &json!({"v": 3}));
        let trace = trace(vec![call], Ok(fields(&json!({"v": 4}))));
        let by_base = "built-in Pod";
        let expected =
            [stage("common part", 1), stage(by_base, 2), stage("plugin labels", 3), stage(by_base, 4)];
        assert_eq!(stages(&trace), expected);
    }

    #[test]
    fn steps_that_change_nothing_and_refused_edits_are_left_out() {
        let mut refused = call(&json!({"v": 1}), &json!({"v": 2}));
        refused.refusal = Some(Failure::new("PluginRefused", "no"));
        let trace = trace(vec![refused], Err(Hold::absent("no")));
        assert_eq!(stages(&trace), [stage("common part", 1)]);
    }

    #[test]
    fn the_annotations_that_are_added_at_the_end_are_of_the_common_part() {
        let result = json!({"v": 1, "metadata": {"annotations": {DIGEST: "x"}}});
        let trace = trace(Vec::new(), Ok(fields(&result)));
        let stages = trace.stages();
        let last = stages.last().unwrap();
        assert_eq!((&last.by, &last.after), (&By::Common, &fields(&result)));
    }
}
