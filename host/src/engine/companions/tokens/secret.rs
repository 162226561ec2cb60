//! What the Secret with a pod's tokens looks like, and whether it is as it was written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::digest;
use weft_core::keys::{DIGEST, PURPOSE_LABEL, TOKEN_POD, TOKEN_REFRESH};
use weft_core::kinds::pod::tokens::{TokenRequest, secret_name};
use weft_core::labels;
use weft_core::names::{Identity, Names};
use weft_core::object::{Fields, HostObject, VirtualObject};

use crate::engine::cache::state::tokens::PURPOSE;

/// The owner reference of a Secret that goes with a host pod.
pub(super) fn with_pod(host_pod: &HostObject) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "name": host_pod.name(), "uid": host_pod.uid()})
}

/// The Secret with `data`, of a pod whose tokens are renewed at `renew_at`.
pub(super) fn compose(
    names: &Names,
    pod: &VirtualObject,
    owner: &Value,
    data: &BTreeMap<String, String>,
    renew_at: i64,
) -> HostObject {
    let mut labels = labels::scope(names, pod.namespace());
    labels.insert(PURPOSE_LABEL.into(), PURPOSE.into());
    let data = json!(data);
    let annotations = json!({
        TOKEN_REFRESH: renew_at.to_string(), DIGEST: digest::of_value(&data), TOKEN_POD: identity(names, pod).to_text(),
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": secret_name(names, &pod.virtual_name()).as_str(), "namespace": names.namespace(),
            "labels": labels, "annotations": annotations,
            "ownerReferences": [owner],
        },
        "data": data,
    });
    HostObject::new(secret.as_object().cloned().unwrap_or_default())
}

/// The pod that tokens are bound to.
pub(super) fn identity(names: &Names, pod: &VirtualObject) -> Identity {
    Identity {
        cluster: names.cluster().to_owned(),
        kind: "v1/Pod".to_owned(),
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
    }
}

/// The patch that gives a Secret to another owner.
pub(super) fn hand_over(owner: &Value) -> Change {
    Change::merge(json!({"metadata": {"ownerReferences": [owner]}}))
}

/// Whether a Secret has every token of this pod as it was written.
pub(super) fn is_whole(secret: &HostObject, requests: &[TokenRequest], pod: &VirtualObject) -> bool {
    let Some(data) = secret.pointer("/data").and_then(Value::as_object) else { return false };
    let token = |request: &TokenRequest| Some((request.key.clone(), data.get(&request.key)?.clone()));
    let Some(tokens) = requests.iter().map(token).collect::<Option<Fields>>() else { return false };
    let is_as_written = secret.annotation(DIGEST) == Some(&*digest::of_value(&Value::Object(tokens)));
    // A token is of no use to another pod of the same name.
    is_as_written && Identity::of_tokens(secret).is_some_and(|identity| identity.uid == pod.uid())
}

/// Whether a Secret that has the name of `wanted` is of the same pod: by its owner or by what it says, of which somebody may have
/// removed one.
pub(super) fn is_same(found: &HostObject, wanted: &HostObject) -> bool {
    let pod =
        |secret: &HostObject| Identity::of_tokens(secret).map(|pod| (pod.cluster, pod.namespace, pod.name));
    (owner_uid(found).is_some() && owner_uid(found) == owner_uid(wanted))
        || (pod(found).is_some() && pod(found) == pod(wanted))
}

/// When a Secret is due, by the clock of the machine that wrote it.
pub(super) fn renew_at(secret: &HostObject) -> Option<Timestamp> {
    Timestamp::from_second(secret.annotation(TOKEN_REFRESH)?.parse().ok()?).ok()
}

/// The UID of what owns it.
pub(super) fn owner_uid(secret: &HostObject) -> Option<&str> {
    secret.text("/metadata/ownerReferences/0/uid")
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::engine::companions::tokens::testing::{host_pod, of_pod, pod};
    use crate::engine::testing::Bench;

    fn found(owner: &str, pod: Option<String>) -> HostObject {
        let annotations = pod.map(|pod| json!({TOKEN_POD: pod}));
        let metadata = json!({"name": "s", "annotations": annotations, "ownerReferences": [{"uid": owner}]});
        HostObject::from_json(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn a_secret_is_of_a_pod_by_its_owner_or_by_what_it_says_and_not_by_its_name() {
        let names = Bench::empty_state().names;
        let wanted = compose(&names, &pod(false), &with_pod(&host_pod(false)), &BTreeMap::new(), 0);
        assert!(is_same(&found("uid-host", None), &wanted));
        assert!(
            is_same(&found("uid-other", Some(of_pod("uid-before"))), &wanted),
            "of an earlier pod of the name"
        );
        assert!(!is_same(&found("uid-other", None), &wanted));
        let of_other = of_pod("uid-1").replace(r#""name":"web""#, r#""name":"db""#);
        assert!(!is_same(&found("uid-other", Some(of_other)), &wanted));
    }
}
