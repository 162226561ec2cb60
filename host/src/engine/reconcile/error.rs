//! Why the work on a pair ended early.

use crate::engine::apply::Failed;
use crate::engine::reconcile::decide;

/// Why the work on a pair ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// Somebody else's object has our name.
    #[error("the host object {0} belongs to somebody else")]
    NameTaken(String),
    /// There is no decision.
    #[error("failed to decide about {name}")]
    Panicked { name: String, source: decide::Panicked },
}
