//! What every write has in common: the format of its body, and our name as its author.

use http::{Method, Request};
use serde::Serialize;

use crate::api;

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(super) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// JSON is YAML.
pub(super) const APPLY_PATCH: &str = "application/apply-patch+yaml";
/// Our name in `managedFields`.
pub(crate) const FIELD_MANAGER: &str = "weft";

/// A write of `value`.
pub(super) fn write(
    method: Method,
    path: &str,
    content_type: &'static str,
    value: &impl Serialize,
) -> Request<Vec<u8>> {
    api::request(method, &format!("{path}?fieldManager={FIELD_MANAGER}"), Some(content_type), body(value))
}

/// The same; fields that others own become ours.
pub(super) fn forced(
    method: Method,
    path: &str,
    content_type: &'static str,
    value: &impl Serialize,
) -> Request<Vec<u8>> {
    api::request(
        method,
        &format!("{path}?fieldManager={FIELD_MANAGER}&force=true"),
        Some(content_type),
        body(value),
    )
}

pub(super) fn body(value: &impl Serialize) -> Vec<u8> {
    // JSON values and maps with string keys cannot fail to serialise.
    serde_json::to_vec(value).unwrap_or_default()
}
