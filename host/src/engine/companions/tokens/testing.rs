//! What tests of tokens have in common: a pod with two tokens, its Secret, and a server that issues them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Value, json};
use weft_core::digest;
use weft_core::keys::{DIGEST, TOKEN_POD, TOKEN_REFRESH};
use weft_core::kinds::pod::tokens::{requests, secret_name};
use weft_core::object::{HostObject, VirtualName, VirtualObject};

use crate::api::scripted::{Answer, Asked};
use crate::engine::companions::tokens::secret;
use crate::engine::testing::{Bench, echo, host_object};

pub(super) const TOKEN: &str = "the-token-that-nobody-may-see";

/// A virtual API server that issues tokens for an hour.
pub(super) fn issue(asked: &Asked) -> Answer {
    if !asked.path.ends_with("/token") {
        return echo(asked);
    }
    assert!(asked.path.ends_with("/serviceaccounts/default/token"), "{}", asked.path);
    Answer::ok(json!({"status": {"token": TOKEN}}))
}

/// The virtual pod `shop/web` with two tokens.
pub(super) fn pod(terminating: bool) -> VirtualObject {
    let sources = json!([
        {"serviceAccountToken": {"path": "token"}},
        {"serviceAccountToken": {"path": "vault", "audience": "vault"}},
    ]);
    let volumes = json!([{"name": "api", "projected": {"sources": sources}}]);
    let mut metadata = json!({"namespace": "shop", "name": "web", "uid": "uid-1"});
    if terminating {
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    VirtualObject::from_json(json!({"metadata": metadata, "spec": {"volumes": volumes}})).unwrap()
}

/// What a Secret says of the pod that its tokens are bound to.
pub(super) fn of_pod(uid: &str) -> String {
    let mut pod = pod(false);
    pod.metadata_mut().insert("uid".into(), uid.into());
    secret::identity(&Bench::empty_state().names, &pod).to_text()
}

/// Its host pod.
pub(super) fn host_pod(terminating: bool) -> HostObject {
    let mut pod = host_object("v1/Pod", "shop", "web", "uid-1");
    if terminating {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    HostObject::from_json(pod).unwrap()
}

/// What an earlier call has stored, as the cache shows it.
pub(super) fn stored(bench: &Bench, change: impl FnOnce(&mut Value)) {
    let keys = requests(&pod(false)).into_iter().map(|request| (request.key, BASE64.encode("old")));
    let data = json!(keys.collect::<BTreeMap<_, _>>());
    let name = secret_name(&bench.state.names, &VirtualName::new("shop", "web"));
    let refresh_at = Timestamp::now().as_second() + 600;
    let mut secret = json!({
        "metadata": {
            "name": name.as_str(), "namespace": "team-a", "uid": "uid-secret", "resourceVersion": "7",
            "annotations": {
                TOKEN_REFRESH: refresh_at.to_string(), DIGEST: digest::of_value(&data), TOKEN_POD: of_pod("uid-1"),
            },
            "ownerReferences": [{"kind": "Pod", "uid": "uid-host"}],
        },
        "data": data,
    });
    change(&mut secret);
    bench.put_host("v1/Secret", secret);
}

/// How many tokens were requested.
pub(super) fn issued(bench: &Bench) -> usize {
    bench.virtual_requests.all().iter().filter(|asked| asked.path.ends_with("/token")).count()
}

/// What the host was asked, each as `POST secrets`.
pub(super) fn asked(bench: &Bench) -> Vec<String> {
    let all = bench.host_requests.all().into_iter();
    all.map(|asked| format!("{} {}", asked.method, asked.path.split('/').nth(5).unwrap_or_default()))
        .collect()
}
