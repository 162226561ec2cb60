//! What is decided about an object: what to write, or why nothing is written and who says so.
//!
//! One type serves the built-in mappers, the guard and plugins, and names the verdicts of recorded cases.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::object::Key;

/// What to write, or why nothing is written.
pub type Verdict<T> = Result<T, Hold>;

/// Reason of a refusal by the guard or a built-in mapper: the reason of the event.
const REFUSED: &str = "SyncRefused";

/// Why nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The other side stays as it is.
    Skip(Problem),
    /// The other side must not have the object; a host object is deleted.
    Absent(Problem),
    /// Something else has to come first.
    Wait(Box<Wait>),
    /// The object asks for something that it cannot have: the tenant has to change it. An event says so.
    Reject(Problem),
    /// A plugin did not work. An event says so, and the object is retried with backoff.
    Fail(Problem),
}

/// What has to come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What it is, in words.
    pub problem: Problem,
    /// The object is requeued when one of these changes.
    pub until: BTreeSet<Key>,
    /// The object is requeued after this time as well.
    pub after: Option<Duration>,
}

/// What is wrong, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Who says so.
    pub by: By,
    /// Stable, in CamelCase: the reason of the event.
    pub reason: String,
    /// For people: what is wrong and what to do.
    pub why: String,
    /// The field, in Kubernetes notation: `spec.volumes[2].hostPath`.
    pub field: Option<String>,
}

/// Who decides about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The guard, [`mod@crate::confine`].
    Guard,
    /// The kind's own mapper, built in or declared.
    Mapper,
    /// The plugin of this name.
    Plugin(String),
}

/// A verdict in one word, as it stands in recorded cases, metrics and lines for people.
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
    /// A plugin wants the tenant to change the object.
    Reject,
    /// It did not work.
    Fail,
    /// The guard or a built-in mapper refuses the object.
    Refused,
}

impl Hold {
    /// A built-in mapper keeps the object in the virtual cluster.
    pub fn absent(why: &str) -> Self {
        Self::Absent(Problem::of(By::Mapper, "VirtualOnly", why))
    }

    /// A built-in mapper waits for `key`. `why` is one clause: `the DNS Service has no address yet`.
    pub fn wait(key: Key, why: impl Into<String>) -> Self {
        let problem = Problem::of(By::Mapper, "Waiting", why);
        Self::Wait(Box::new(Wait { problem, until: BTreeSet::from([key]), after: None }))
    }

    /// The guard or a built-in mapper refuses what stands in `field`, in Kubernetes notation.
    pub fn refuse(by: By, field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Reject(Problem { field: Some(field.into()), ..Problem::of(by, REFUSED, why) })
    }

    /// What is wrong, and who says so.
    pub fn problem(&self) -> &Problem {
        match self {
            Self::Skip(problem) | Self::Absent(problem) | Self::Reject(problem) | Self::Fail(problem) => {
                problem
            }
            Self::Wait(wait) => &wait.problem,
        }
    }

    /// The verdict in one word.
    pub fn word(&self) -> Word {
        match self {
            Self::Skip(_) => Word::Skip,
            Self::Absent(_) => Word::Absent,
            Self::Wait(_) => Word::Wait,
            Self::Reject(problem) if problem.by.plugin().is_none() => Word::Refused,
            Self::Reject(_) => Word::Reject,
            Self::Fail(_) => Word::Fail,
        }
    }
}

impl Problem {
    /// A problem that is about no field.
    pub fn of(by: By, reason: &str, why: impl Into<String>) -> Self {
        Self { by, reason: reason.to_owned(), why: why.into(), field: None }
    }

    /// The problem in words that may be logged: those of a plugin may be what it read in a Secret.
    pub fn for_log(&self) -> String {
        match self.by.plugin() {
            Some(plugin) => format!("the plugin {plugin} says {}", self.reason),
            None => self.to_string(),
        }
    }
}

impl By {
    /// The plugin, if it is one.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Plugin(name) => Some(name),
            Self::Guard | Self::Mapper => None,
        }
    }
}

impl Word {
    /// The word for a verdict.
    pub fn of<T>(verdict: &Verdict<T>) -> Self {
        verdict.as_ref().map_or_else(Hold::word, |_| Self::Apply)
    }

    /// The word in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Skip => "skip",
            Self::Absent => "absent",
            Self::Wait => "wait",
            Self::Reject => "reject",
            Self::Fail => "fail",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What tenants read: the field, what is wrong, and the plugin that says so.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.why)?;
        match self.by.plugin() {
            Some(plugin) => write!(f, " (plugin {plugin})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_field_and_the_plugin_that_says_so() {
        let Hold::Reject(mut problem) = Hold::refuse(By::Guard, "spec.x[0]", "it is not yours") else {
            panic!("a refusal is a rejection");
        };
        assert_eq!(problem.to_string(), "spec.x[0]: it is not yours");
        problem.by = By::Plugin("labels".to_owned());
        assert_eq!(problem.to_string(), "spec.x[0]: it is not yours (plugin labels)");
    }

    #[test]
    fn the_words_of_a_plugin_are_not_logged() {
        let problem = Problem::of(By::Plugin("labels".to_owned()), "NotYet", "the password is 1234");
        assert_eq!(problem.for_log(), "the plugin labels says NotYet");
        assert_eq!(Problem::of(By::Mapper, "Waiting", "no address yet").for_log(), "no address yet");
    }

    #[test]
    fn a_word_says_whether_a_plugin_rejects_or_weft_refuses() {
        let of_plugin = Hold::Reject(Problem::of(By::Plugin("labels".to_owned()), "No", "no"));
        assert_eq!(of_plugin.word(), Word::Reject);
        for by in [By::Guard, By::Mapper] {
            assert_eq!(Hold::refuse(by, "spec", "no").word(), Word::Refused);
        }
        assert_eq!(Word::of(&Ok::<_, Hold>(())), Word::Apply);
        assert_eq!(serde_json::to_string(&Word::Refused).unwrap(), "\"refused\"");
    }
}
