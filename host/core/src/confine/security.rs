//! Whether a pod keeps to the Pod Security Standard that the operator has chosen, whoever made it.
//!
//! The controls are those of "Pod Security Standards" in the documentation of Kubernetes, as of 1.37. The host's own
//! admission may judge by them as well; that is up to labels of its namespace, and this is not.

mod baseline;
mod restricted;

use serde_json::Value;

use super::{places, refuse};
use crate::context::{Ctx, Version};
use crate::object::HostObject;
use crate::policy::pods::SecurityLevel;
use crate::verdict::{Hold, Verdict};

/// The first version in which a pod of its own user namespace is judged less strictly (KEP-127). API servers of before
/// may drop the field, and the pod would run as on the node.
const JUDGES_USER_NAMESPACES: Version = Version { major: 1, minor: 35 };

/// A pod, and by what it is judged.
struct Judged<'a> {
    pod: &'a HostObject,
    level: SecurityLevel,
    /// The strictest level that lets pass what is judged now.
    opens: SecurityLevel,
    /// Root in it is nobody on the node.
    has_user_namespace: bool,
    /// The API takes none of the fields that only Linux has.
    is_windows: bool,
}

/// One control: at these places only this is allowed.
struct Control {
    of: Of,
    /// Behind the pod's spec or the container.
    path: &'static str,
    allows: Allows,
}

/// What a control is about.
#[derive(Clone, Copy)]
enum Of {
    /// The pod's spec.
    Pod,
    /// Each container of each list.
    Containers,
    /// Both: each has a `securityContext`.
    PodAndContainers,
}

/// What a control allows beside nothing at all.
#[derive(Clone, Copy)]
enum Allows {
    Nothing,
    False,
    Zero,
    NotZero,
    /// One of these strings.
    OneOf(&'static [&'static str]),
}

/// Passes `pod` if it keeps to the level of the policy.
pub(super) fn judge(ctx: &Ctx<'_>, pod: &HostObject) -> Verdict<()> {
    let level = ctx.facts.policy.pods.security;
    let judged = Judged {
        pod,
        level,
        opens: SecurityLevel::Privileged,
        has_user_namespace: ctx.facts.host_version >= JUDGES_USER_NAMESPACES
            && pod.pointer("/spec/hostUsers") == Some(&Value::Bool(false)),
        is_windows: pod.text("/spec/os/name") == Some("windows"),
    };
    match level {
        SecurityLevel::Privileged => Ok(()),
        SecurityLevel::Baseline => baseline::judge(&judged),
        SecurityLevel::Restricted => {
            baseline::judge(&judged)?;
            restricted::judge(&Judged { opens: SecurityLevel::Baseline, ..judged })
        }
    }
}

impl Judged<'_> {
    fn keeps_to(&self, control: &Control) -> Verdict<()> {
        let mut judge = |at: &str, value: Option<&Value>| match value {
            Some(value) if !control.allows.allows(value) => {
                Err(self.refusal(at, &control.allows.to_string()))
            }
            _ => Ok(()),
        };
        if matches!(control.of, Of::Pod | Of::PodAndContainers) {
            places::each(self.pod, &format!("/spec{}", control.path), &mut judge)?;
        }
        if matches!(control.of, Of::Containers | Of::PodAndContainers) {
            places::each_in_containers(self.pod, control.path, &mut judge)?;
        }
        Ok(())
    }

    /// Refuses what stands at `at`; `demand` says what could stand there.
    fn refusal(&self, at: &str, demand: &str) -> Hold {
        let why = format!(
            "it {demand}: pods keep to the Pod Security Standard {level:?} here; change it, or ask the operator for \
             `pods.security: {opens}`",
            level = self.level.to_string(),
            opens = self.opens
        );
        refuse(at, why)
    }
}

impl Allows {
    fn allows(self, value: &Value) -> bool {
        match self {
            Self::Nothing => false,
            Self::False => value == &Value::Bool(false),
            Self::Zero => value.as_i64() == Some(0),
            Self::NotZero => value.as_i64().is_some_and(|number| number != 0),
            Self::OneOf(known) => value.as_str().is_some_and(|text| known.contains(&text)),
        }
    }
}

impl std::fmt::Display for Allows {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing | Self::OneOf([] | [""]) => formatter.write_str("must not be set"),
            Self::False => formatter.write_str("must be false or not set"),
            Self::Zero => formatter.write_str("must be 0 or not set"),
            Self::NotZero => formatter.write_str("must be another number than 0, or not set"),
            Self::OneOf(known) => {
                let known: Vec<&str> = known.iter().copied().filter(|text| !text.is_empty()).collect();
                write!(formatter, "must be one of {}, or not set", known.join(", "))
            }
        }
    }
}
