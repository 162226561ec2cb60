//! What writes say: the format of their bodies, our name as their author, and the bodies of those that are no object.

use http::{Method, Request};
use serde::Serialize;
use serde_json::{Value, json};
use weft_core::change::{Change, PatchFormat};
use weft_core::object::VirtualName;

use crate::api;

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
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
    write_with("", method, path, content_type, value)
}

/// The same; fields that others own become ours.
pub(super) fn forced(
    method: Method,
    path: &str,
    content_type: &'static str,
    value: &impl Serialize,
) -> Request<Vec<u8>> {
    write_with("&force=true", method, path, content_type, value)
}

/// A write with these parameters beside our name.
fn write_with(
    parameters: &str,
    method: Method,
    path: &str,
    content_type: &'static str,
    value: &impl Serialize,
) -> Request<Vec<u8>> {
    let url = format!("{path}?fieldManager={FIELD_MANAGER}{parameters}");
    api::request(method, &url, Some(content_type), body(value))
}

/// What a server answers to a write of `value` without carrying it out.
pub(super) fn dry_run(
    method: Method,
    path: &str,
    content_type: &'static str,
    value: &impl Serialize,
) -> Request<Vec<u8>> {
    write_with("&dryRun=All", method, path, content_type, value)
}

pub(super) fn body(value: &impl Serialize) -> Vec<u8> {
    // JSON values and maps with string keys cannot fail to serialise.
    serde_json::to_vec(value).unwrap_or_default()
}

/// A change of an object that must have this UID.
pub(super) fn patch_request(path: &str, uid: &str, change: &Change) -> Request<Vec<u8>> {
    let (content_type, body) = patch_body(uid, change);
    write(Method::PATCH, path, content_type, &body)
}

/// What a server answers to the same without carrying it out.
pub(super) fn patch_dry_run(path: &str, uid: &str, change: &Change) -> Request<Vec<u8>> {
    let (content_type, body) = patch_body(uid, change);
    dry_run(Method::PATCH, path, content_type, &body)
}

fn patch_body(uid: &str, change: &Change) -> (&'static str, Value) {
    let content_type = match change.format {
        PatchFormat::Merge => MERGE_PATCH,
        PatchFormat::Strategic => STRATEGIC_PATCH,
    };
    let mut body = change.body.clone();
    // A patch that names another UID than the object has is refused with a conflict.
    if let Some(fields) = body.as_object_mut() {
        weft_core::object::child_mut(fields, "metadata").insert("uid".into(), uid.into());
    }
    (content_type, body)
}

/// The body that binds a pod to a node.
pub(super) fn binding(pod: &VirtualName, uid: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}

/// The body that requests a token bound to a pod.
pub(super) fn token_request(pod: &str, pod_uid: &str, audiences: &[String], seconds: i64) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": pod_uid},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_the_uid_and_its_format_and_keeps_the_rest() {
        let change = Change::merge(json!({"metadata": {"labels": {"a": "b"}}}));
        let request = patch_request("/api/v1/pods/web", "uid-1", &change);
        assert_eq!(request.headers()[http::header::CONTENT_TYPE], MERGE_PATCH);
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body, json!({"metadata": {"uid": "uid-1", "labels": {"a": "b"}}}));
        let request = forced(Method::PATCH, "/api/v1/pods/web", APPLY_PATCH, &body);
        assert_eq!(request.uri().query(), Some("fieldManager=weft&force=true"));
        let request = patch_dry_run("/api/v1/pods/web", "uid-1", &change);
        assert_eq!(request.uri().query(), Some("fieldManager=weft&dryRun=All"));
        assert_eq!(serde_json::from_slice::<Value>(request.body()).unwrap(), body);
    }
}
