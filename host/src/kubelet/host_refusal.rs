//! Makes a refusal of the host one for a tenant: the code, and what clients fall back by, stay; names of the host become
//! those of the virtual cluster.

use std::time::Duration;

use http::Response;
use http_body_util::{BodyExt as _, Collected, Limited};
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;
use tracing::debug;

use crate::engine::Pods;
use crate::kubelet::headers;

/// No refusal that says something is longer.
const LONGEST: usize = 64 * 1024;
/// A refusal comes in one piece.
const PATIENCE: Duration = Duration::from_secs(10);
/// In place of a message with the account of the syncer and its namespace.
pub(super) const NOT_ALLOWED: &str = "the host does not allow this to the syncer; the operator of the host has to grant what `weft rbac` prints";

/// The same refusal of a request about a pod of the virtual `namespace`.
pub(super) async fn for_tenant(refused: Response<Body>, pods: &Pods, namespace: &str) -> Response<Body> {
    let (head, body) = refused.into_parts();
    let read = timeout(PATIENCE, Limited::new(body, LONGEST).collect()).await;
    let read = read.ok().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&read);
    debug!(code = head.status.as_u16(), %text, "the host refuses");
    let text = not_allowed(&text).unwrap_or_else(|| pods.to_virtual_text(&text, namespace));
    let mut response = Response::new(Body::from(text.into_bytes()));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers::to_client(&head.headers);
    response
}

/// What is said in place of a `Status` that is about the permissions of the syncer.
fn not_allowed(text: &str) -> Option<String> {
    let mut status: Value = serde_json::from_str(text).ok()?;
    let reason = status.get("reason")?.as_str()?;
    if !matches!(reason, "Forbidden" | "Unauthorized") {
        return None;
    }
    let fields = status.as_object_mut()?;
    fields.remove("details");
    fields.insert("message".to_owned(), NOT_ALLOWED.into());
    Some(status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::engine::testing::Bench;

    /// What a tenant reads of a refusal with this body.
    async fn answer_to(body: &str) -> String {
        let pods = Bench::echoing().pods();
        let mut refused = Response::new(Body::from(body.as_bytes().to_vec()));
        *refused.status_mut() = http::StatusCode::FORBIDDEN;
        let answer = for_tenant(refused, &pods, "shop").await;
        assert_eq!(answer.status(), 403, "the code is what clients fall back by");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn names_of_the_host_become_those_of_the_virtual_cluster() {
        let waiting = r#"{"kind":"Status","message":"container \"web\" in pod \"web-x-shop-x-vc\" is waiting to start","reason":"BadRequest"}"#;
        assert_eq!(answer_to(waiting).await, waiting.replace("web-x-shop-x-vc", "web"));
        let negotiation = r#"{"kind":"Status","message":"no protocol in common"}"#;
        assert_eq!(answer_to(negotiation).await, negotiation);
        assert_eq!(answer_to("container not found in web-x-shop-x-vc").await, "container not found in web");
    }

    #[tokio::test]
    async fn what_the_syncer_may_not_do_is_said_without_its_account() {
        let forbidden = r#"{"kind":"Status","reason":"Forbidden","message":"User \"system:serviceaccount:team-a:weft\" cannot create resource \"pods/exec\" in the namespace \"team-a\"","details":{"name":"web-x-shop-x-vc"},"code":403}"#;
        let answer = answer_to(forbidden).await;
        assert!(answer.contains("weft rbac") && answer.contains("\"code\":403"), "{answer}");
        assert!(!answer.contains("team-a") && !answer.contains("web-x"), "{answer}");
    }

    #[tokio::test]
    async fn a_refusal_without_end_is_cut() {
        assert_eq!(answer_to(&"x".repeat(LONGEST + 1)).await, "");
    }
}
