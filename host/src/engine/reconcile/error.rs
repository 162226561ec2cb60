//! Why the work on a pair ended early.

use crate::engine::apply::Failed;

/// Why the work on a pair ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// Somebody else's object has our name.
    #[error("the host object {0} belongs to somebody else")]
    NameTaken(String),
    /// There is no decision, or it was not carried out to its end.
    #[error("failed to reconcile {0}: the mapper of its kind, or the syncer itself, has a bug and panicked")]
    Panicked(String),
}
