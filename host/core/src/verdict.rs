//! Why a result is not written.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::context::Problem;
use crate::object::Key;

/// Why an object has no host object, or why the one it has is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// It belongs in the virtual cluster only; a host object is removed.
    Absent,
    /// Something else has to come first; looked at again when one of `on` changes.
    Wait {
        /// What is waited for.
        on: BTreeSet<Key>,
        /// For people, in one clause: `the DNS Service has no address yet`.
        why: String,
        /// Looked at again after this time as well.
        after: Option<Duration>,
    },
    /// It asks for something that a tenant cannot have; told by an event, looked at again when it changes.
    Refuse {
        /// The field, in Kubernetes notation: `spec.volumes[2].hostPath`.
        field: String,
        /// For people: what is wrong and what to do.
        why: String,
    },
    /// A loaded rule says that the tenant has to change the object; told by an event, looked at again when
    /// it changes.
    Reject(Problem),
    /// A loaded rule wants the other side left as it is.
    Skip(Problem),
    /// A loaded rule did not work; told by an event, tried again with growing pauses.
    Fail(Problem),
}
