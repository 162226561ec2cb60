//! Why the work on a pair ended early, and what that means for the pair.

use crate::engine::apply::{Failed, Side};
use crate::engine::events::reason::Reason;
use crate::engine::queue::Outcome;

/// Why the work on a pair ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// Somebody else's object has our name.
    #[error("the host object {0} belongs to somebody else")]
    NameTaken(String),
    /// A read found no object, or an older one, where the watch shows one.
    #[error("a read of {0} in the virtual cluster did not find what its watch shows")]
    Older(String),
    /// There is no decision, or it was not carried out to its end.
    #[error("failed to reconcile {0}: the mapper of its kind, or the syncer itself, has a bug and panicked")]
    Panicked(String),
}

impl Error {
    /// What it is published as, if it is. `lasts` says that the pair has failed for long.
    pub(crate) fn reason(&self, lasts: bool) -> Option<Reason> {
        match self {
            Self::NameTaken(_) => Some(Reason::NameTaken),
            Self::Panicked(_) => Some(Reason::Panicked),
            Self::Older(_) => None,
            Self::Failed(Failed { side, source, .. }) if source.is_refusal() => Some(match side {
                Side::Host => Reason::HostRefused,
                Side::Virtual => Reason::VirtualRefused,
            }),
            Self::Failed(Failed { side, .. }) => lasts.then_some(match side {
                Side::Host => Reason::HostFailing,
                Side::Virtual => Reason::VirtualFailing,
            }),
        }
    }

    /// What the queue does with the key.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::NameTaken(_) => Outcome::Refused,
            Self::Older(_) | Self::Panicked(_) => Outcome::Failed(None),
            Self::Failed(Failed { source, .. }) if source.is_refusal() => Outcome::Refused,
            Self::Failed(Failed { source, .. }) => Outcome::Failed(source.retry_after()),
        }
    }

    /// Whether it may be this pair's alone: where a server is away, it is a matter of all.
    pub(crate) fn is_of_the_pair(&self) -> bool {
        matches!(self, Self::Failed(Failed { source, .. }) if source.is_answer())
    }
}
