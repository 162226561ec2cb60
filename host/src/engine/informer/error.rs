//! Why a list, a watch or an audit failed, and what that means for the next step.

use std::sync::Arc;
use std::time::Duration;

use weft_core::object::Kind;

use crate::api::{self, MAX_REPLY};
use crate::engine::informer::identity;
use crate::engine::informer::wire::MAX_FRAME;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Api(#[from] api::Error),
    /// The server lacks the kind or hides it, and that is nothing unusual.
    #[error(transparent)]
    Absent(api::Error),
    #[error("failed to read a page of the list")]
    Page(#[source] serde_json::Error),
    #[error(
        "an object of {kind} alone is larger than {MAX_REPLY} bytes, so the kind cannot be listed; remove it, or data of it"
    )]
    ObjectTooLarge { kind: Kind },
    #[error("failed to read a watch event")]
    Frame(#[source] serde_json::Error),
    #[error("a watch event is larger than {MAX_FRAME} bytes")]
    FrameSize,
    #[error("the server ended the watch: {code} {message}")]
    Ended { code: u16, message: String },
    #[error("the server ended the watch as soon as it had begun")]
    TooShort,
    #[error("the watch is silent past its end")]
    Silent,
    #[error("the server's identity is not confirmed, so nothing that it shows is believed")]
    IdentityGuard(#[source] Arc<identity::Error>),
    /// What the store has is not the server's past.
    #[error("the server is at an older version than it was")]
    WentBack,
    #[error("the server was away, and may have gone back to an older state")]
    WasAway,
    #[error("the list lacks {missing} of {all} objects; it is read a second time before they are removed")]
    ManyMissing { missing: usize, all: usize },
}

impl Error {
    /// The same failure where the server `may_lack` the kind: then 403 and 404 only say that it does.
    pub(super) fn where_kind(self, may_lack: bool) -> Self {
        match self {
            Self::Api(error) if may_lack && matches!(error.code(), Some(403 | 404)) => Self::Absent(error),
            other => other,
        }
    }

    /// Whether the server has forgotten the version from which we watch, or is not there yet.
    pub(super) fn is_expired(&self) -> bool {
        let is_forgotten =
            matches!(self, Self::Api(api::Error::Status { code: 410, .. }) | Self::Ended { code: 410, .. });
        is_forgotten || matches!(self, Self::WentBack)
    }

    /// How long the server wants to be left alone, if it says so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api(error) => error.retry_after(),
            _ => None,
        }
    }
}
