//! Verdicts of a rule, and the problems that explain them.

use std::time::Duration;

use crate::bindings::weft::mapping::types;
use crate::descriptor::kind;
use crate::lookup;

/// What a rule returns: `Ok(())` writes the draft as it is now; every other decision is a [`Verdict`].
pub type Result<T = ()> = core::result::Result<T, Verdict>;

pub use types::{Problem, Severity};

/// A problem, for [`crate::Plugin::check`] and conditions of a rule's own.
///
/// `reason` is stable, for programs: letters and digits in `CamelCase`. `message` is for people: what is wrong and what
/// to do.
pub fn problem(reason: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem { reason: reason.into(), message: message.into(), field: None }
}

impl Problem {
    /// Names the field that causes the problem, as a JSON pointer.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.field = Some(pointer.into());
        self
    }
}

/// A decision not to write the draft, and why.
#[derive(Debug, Clone)]
pub struct Verdict(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    decision: Decision,
    problem: Problem,
    until: Vec<types::ObjectRef>,
    after: Option<Duration>,
}

/// The five decisions not to write the draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// See [`skip`].
    Skip,
    /// See [`absent`].
    Absent,
    /// See [`wait`].
    Wait,
    /// See [`reject`].
    Reject,
    /// See [`fail`].
    Fail,
}

/// Leaves the object on the other side as it is.
pub fn skip(reason: impl Into<String>, message: impl Into<String>) -> Verdict {
    Verdict::new(Decision::Skip, reason, message)
}

/// The object must not exist on the host; if it does, it is deleted.
pub fn absent(reason: impl Into<String>, message: impl Into<String>) -> Verdict {
    Verdict::new(Decision::Absent, reason, message)
}

/// Leaves the object on the other side as it is for now. [`Verdict::until`] and [`Verdict::after`] say what to wait for;
/// a change of the object itself, or of anything that was looked up, runs the rule again in any case.
pub fn wait(reason: impl Into<String>, message: impl Into<String>) -> Verdict {
    Verdict::new(Decision::Wait, reason, message)
}

/// The tenant has to change the object. weft emits a Warning event; the rule runs again when the object changes.
pub fn reject(reason: impl Into<String>, message: impl Into<String>) -> Verdict {
    Verdict::new(Decision::Reject, reason, message)
}

/// The rule failed. weft emits a Warning event and retries with backoff.
pub fn fail(reason: impl Into<String>, message: impl Into<String>) -> Verdict {
    Verdict::new(Decision::Fail, reason, message)
}

impl Verdict {
    fn new(decision: Decision, reason: impl Into<String>, message: impl Into<String>) -> Self {
        let problem = problem(reason, message);
        Self(Box::new(Inner { decision, problem, until: Vec::new(), after: None }))
    }

    /// Names the field that causes the problem, as a JSON pointer.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.0.problem.field = Some(pointer.into());
        self
    }

    /// Runs the rule again when this virtual object changes: `until("v1/Secret", Some("shop"), "tls")`. Only for
    /// [`wait`].
    #[must_use]
    pub fn until(mut self, of_kind: &str, namespace: Option<&str>, name: impl Into<String>) -> Self {
        let namespace = namespace.map(str::to_owned);
        self.0.until.push(types::ObjectRef { kind: kind(of_kind), namespace, name: name.into() });
        self
    }

    /// Runs the rule again after this time, at least one second. Only for [`wait`].
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        self.0.after = Some(pause);
        self
    }

    /// The decision.
    pub fn decision(&self) -> Decision {
        self.0.decision
    }

    /// Why.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// The verdict as a record of the interface.
    pub(crate) fn into_record(self) -> types::Verdict {
        let Inner { decision, problem, until, after } = *self.0;
        match decision {
            Decision::Skip => types::Verdict::Skip(problem),
            Decision::Absent => types::Verdict::Absent(problem),
            Decision::Reject => types::Verdict::Reject(problem),
            Decision::Fail => types::Verdict::Fail(problem),
            Decision::Wait => types::Verdict::Wait(types::Wait {
                problem,
                until,
                after_ms: after.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
            }),
        }
    }
}

impl From<lookup::Error> for Verdict {
    /// Waits for a cache that is not synced; any other lookup error is a failure.
    fn from(error: lookup::Error) -> Self {
        match error {
            lookup::Error::NotSynced => wait("CacheNotSynced", "the cache of this kind is not synced yet"),
            lookup::Error::NotGranted => fail("LookupNotGranted", error.to_string()),
            lookup::Error::TooLarge => fail("LookupTooLarge", error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Verdict {
    /// The object does not have the shape that the rule expects.
    fn from(error: serde_json::Error) -> Self {
        fail("UnexpectedShape", error.to_string())
    }
}
