//! What the Secret with a pod's tokens looks like, and whether it is as it was written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use weft_core::digest;
use weft_core::keys::{DIGEST, PURPOSE_LABEL, TOKEN_REFRESH};
use weft_core::kinds::pod::tokens::{TokenRequest, secret_name};
use weft_core::labels;
use weft_core::names::Names;
use weft_core::object::{Fields, HostObject, VirtualObject};

/// The Secret with `data`, of a pod whose tokens are renewed at `renew_at`.
pub(super) fn compose(
    names: &Names,
    pod: &VirtualObject,
    host_pod: &HostObject,
    data: &BTreeMap<String, String>,
    renew_at: i64,
) -> HostObject {
    let mut labels = labels::scope(names, pod.namespace());
    labels.insert(PURPOSE_LABEL.into(), "token".into());
    let data = json!(data);
    let annotations = json!({TOKEN_REFRESH: renew_at.to_string(), DIGEST: digest::of_value(&data)});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": secret_name(names, &pod.virtual_name()).as_str(), "namespace": names.namespace(),
            "labels": labels, "annotations": annotations,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": host_pod.name(), "uid": host_pod.uid()}],
        },
        "data": data,
    });
    HostObject::new(secret.as_object().cloned().unwrap_or_default())
}

/// Whether a Secret of this pod has every token as it was written.
pub(super) fn is_whole(secret: &HostObject, requests: &[TokenRequest], host_pod: &HostObject) -> bool {
    let Some(data) = secret.pointer("/data").and_then(Value::as_object) else { return false };
    let token = |request: &TokenRequest| Some((request.key.clone(), data.get(&request.key)?.clone()));
    let Some(tokens) = requests.iter().map(token).collect::<Option<Fields>>() else { return false };
    let is_as_written = secret.annotation(DIGEST) == Some(&*digest::of_value(&Value::Object(tokens)));
    is_as_written && owner(secret) == Some(host_pod.uid())
}

/// When a Secret is due, by the clock of the machine that wrote it.
pub(super) fn renew_at(secret: &HostObject) -> Option<Timestamp> {
    Timestamp::from_second(secret.annotation(TOKEN_REFRESH)?.parse().ok()?).ok()
}

/// The UID of the pod that owns it.
pub(super) fn owner(secret: &HostObject) -> Option<&str> {
    secret.text("/metadata/ownerReferences/0/uid")
}
