//! Tokens of accounts: for which pod, for how long, and what is refused.

use anyhow::Result;
use serde_json::{Value, json};

use super::case::{Step, post, same};

/// A pod that no scheduler of a real server cares for.
fn pod(name: &str) -> Step {
    let spec = json!({
        "schedulerName": "nobody", "serviceAccountName": "reader", "automountServiceAccountToken": false,
        "containers": [{"name": "main", "image": "nginx:1"}],
    });
    post("pods", json!({"metadata": {"name": name}, "spec": spec}))
}

fn account() -> Step {
    post("serviceaccounts", json!({"metadata": {"name": "reader"}})).sees(NAME)
}

fn token(spec: &Value) -> Step {
    post("serviceaccounts/reader/token", json!({"spec": spec}))
}

fn bound(name: &str, uid: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid})
}

const NAME: &[&str] = &["/metadata/name"];
const SPEC: &[&str] = &["/kind", "/spec/expirationSeconds", "/spec/audiences", "/spec/boundObjectRef/name"];
const REFUSAL: &[&str] = &["/reason", "/code"];

#[test]
fn a_token_is_for_an_audience_a_time_and_a_pod() -> Result<()> {
    same(&[
        account(),
        pod("a"),
        token(&json!({"audiences": ["weft.test"], "expirationSeconds": 1200, "boundObjectRef": bound("a", "{{1/metadata/uid}}")}))
            .sees(SPEC),
        token(&json!({"audiences": ["weft.test"], "boundObjectRef": bound("a", "{{1/metadata/uid}}")})).sees(SPEC),
    ])
}

#[test]
fn a_token_that_is_too_short_or_for_no_pod_or_another_one_is_refused() -> Result<()> {
    same(&[
        account(),
        pod("a"),
        token(&json!({"audiences": ["weft.test"], "expirationSeconds": 599})).sees(REFUSAL),
        token(&json!({"audiences": ["weft.test"], "boundObjectRef": bound("b", "")})).sees(REFUSAL),
        token(&json!({"audiences": ["weft.test"], "boundObjectRef": bound("a", "{{0/metadata/uid}}")}))
            .sees(REFUSAL),
        post("serviceaccounts", json!({"metadata": {"name": "other"}})).sees(NAME),
        post(
            "serviceaccounts/other/token",
            json!({"spec": {"audiences": ["weft.test"], "boundObjectRef": bound("a", "")}}),
        )
        .sees(REFUSAL),
        post("serviceaccounts/no-such/token", json!({"spec": {"audiences": ["weft.test"]}})).sees(REFUSAL),
    ])
}
