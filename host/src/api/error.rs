//! Why a request failed, in a form that tells the caller what to do next.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::api::MAX_REPLY;

/// A server, or a webhook behind it, may ask for more rest; within this time it is asked whether things are better.
pub(super) const LONGEST_REST: Duration = Duration::from_mins(1);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error.
    #[error("the server answered {code} {reason}: {message}")]
    Status {
        /// HTTP status code.
        code: u16,
        /// Kubernetes' reason, such as `AlreadyExists`.
        reason: String,
        /// For people.
        message: String,
        /// The fields that were refused, in Kubernetes' notation.
        fields: Vec<String>,
        /// When the server wants to be asked again; a minute at most.
        retry_after: Option<Duration>,
    },
    /// No reply.
    #[error("failed to reach the server")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No reply in time.
    #[error("the server gave no reply in time")]
    Timeout,
    /// No reply, because the connections to the server were dead.
    #[error("the connection to the server was dead; there is a new one now")]
    Replaced,
    /// A reply that is not what was asked for.
    #[error("failed to read the server's reply")]
    Decode(#[source] serde_json::Error),
    /// Nothing was sent: it must not be, or it is not known that it may.
    #[error("nothing is written now: {0}")]
    Withheld(String),
    /// Nothing was sent: the server wants to be left alone about this kind in this namespace for so long.
    #[error("the server has asked to be left alone for {} s", .0.as_secs_f64().ceil())]
    Resting(Duration),
    /// A reply that is too large.
    #[error("the server's reply is larger than {MAX_REPLY} bytes")]
    TooLarge,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
    #[serde(rename = "retryAfterSeconds")]
    retry_after_seconds: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cause {
    field: String,
}

impl Error {
    /// The HTTP status code, if the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The fields that the server refused, in Kubernetes' notation; `None` for errors that are no refusal of fields.
    pub fn refused_fields(&self) -> Option<&[String]> {
        match self {
            Self::Status { code: 422, fields, .. } => Some(fields),
            _ => None,
        }
    }

    /// Whether the server says that it failed. It may do so again, or only once.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Status { code: 500, reason, .. } if reason == "InternalError")
    }

    /// When it is worth trying again, if the server or the gate said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Resting(rest) => Some(*rest),
            // What it waits for is looked at once a second.
            Self::Withheld(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// Whether the server is there, though it, or a webhook behind it, did not do what was requested.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Timeout | Self::Resting(_))
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the server says that an object of this name exists already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Status { reason, .. } if reason == "AlreadyExists")
    }

    /// Whether the object was changed, replaced or removed meanwhile.
    pub fn is_conflict(&self) -> bool {
        // A status patch that names another UID than the object has is answered with 422.
        let is_other = self.refused_fields().into_iter().flatten().any(|field| field == "metadata.uid");
        is_other || matches!(self, Self::Status { code: 409, reason, .. } if reason != "AlreadyExists")
    }

    /// Whether trying the same again can only give the same answer until something changes.
    pub fn is_refusal(&self) -> bool {
        matches!(self.code(), Some(400 | 403 | 405 | 413 | 415 | 422)) && !self.is_conflict()
    }
}

/// The error that a reply of status `code` stands for.
pub(super) fn refusal(code: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    let named = |text: String| {
        if text.is_empty() { code.canonical_reason().unwrap_or("error").to_owned() } else { text }
    };
    Error::Status {
        code: code.as_u16(),
        reason: named(status.reason),
        message: named(status.message),
        fields: status
            .details
            .causes
            .into_iter()
            .map(|cause| cause.field)
            .filter(|field| !field.is_empty())
            .collect(),
        retry_after: retry_after
            .or(status.details.retry_after_seconds.map(Duration::from_secs))
            .map(|rest| rest.min(LONGEST_REST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_of_an_object_made_anew_is_a_conflict_and_no_refusal() {
        let of = |field: &str| {
            let body = serde_json::json!({"reason": "Invalid", "details": {"causes": [{"field": field}]}});
            refusal(StatusCode::UNPROCESSABLE_ENTITY, None, body.to_string().as_bytes())
        };
        assert!(of("metadata.uid").is_conflict() && !of("metadata.uid").is_refusal());
        assert!(!of("spec.containers").is_conflict() && of("spec.containers").is_refusal());
    }
}
