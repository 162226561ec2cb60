//! Asks the virtual API server who a reader is and what they may read, as a kubelet in webhook mode does.
//!
//! Reviews are created and stored nowhere. Source: <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/>.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::debug;
use weft_core::object::Virtual;

use super::recent::Recent;
use crate::api::{self, Api};
use crate::kubelet::refusal::Refusal;

/// Lives of answers, as a kubelet has them by default (`pkg/kubelet/apis/config/v1beta1/defaults.go`).
const AUTHENTICATED: Duration = Duration::from_mins(2);
const ALLOWED: Duration = Duration::from_mins(5);
const REFUSED: Duration = Duration::from_secs(30);
/// Readers are few: metrics-server and what collects metrics.
const REMEMBERED: usize = 256;
/// So many reviews are waited for at once, whoever knocks: the virtual API server has other work.
const REVIEWS: usize = 4;

const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// What the virtual API server says of readers.
pub(super) struct Reviews {
    api: Api<Virtual>,
    /// The users of tokens; none of a token that is not valid.
    users: Recent<Option<Value>>,
    decisions: Recent<bool>,
    places: Semaphore,
}

impl Reviews {
    pub(super) fn new(api: Api<Virtual>) -> Self {
        let (users, decisions) = (Recent::new(REMEMBERED), Recent::new(REMEMBERED));
        Self { api, users, decisions, places: Semaphore::new(REVIEWS) }
    }

    /// Checks that the bearer of a token may read one of these subresources of a node.
    ///
    /// # Errors
    /// The token is not valid, or is not of somebody who may.
    pub(super) async fn check(&self, token: &str, node: &str, subresources: &[&str]) -> Result<(), Refusal> {
        let user = self.user(token).await?;
        let user = user.ok_or_else(|| {
            Refusal::unauthorized("the bearer token is not valid in this virtual cluster, or no longer")
        })?;
        for subresource in subresources {
            if self.may_read(&user, node, subresource).await? {
                return Ok(());
            }
        }
        let name = user.get("username").and_then(Value::as_str).unwrap_or_default();
        let wanted = subresources.join(" or nodes/");
        Err(Refusal::forbidden(format!(
            "{name:?} may not get nodes/{wanted} of the node {node:?} in this virtual cluster"
        )))
    }

    async fn user(&self, token: &str) -> Result<Option<Value>, Refusal> {
        if let Some(user) = self.users.get(token.as_bytes()) {
            return Ok(user);
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let status = self.review(TOKENS, &review).await?;
        let is_valid = status.get("authenticated") == Some(&Value::Bool(true));
        let user = status.get("user").filter(|_| is_valid).cloned();
        let life = if user.is_some() { AUTHENTICATED } else { REFUSED };
        self.users.put(token.as_bytes(), user.clone(), life);
        Ok(user)
    }

    async fn may_read(&self, user: &Value, node: &str, subresource: &str) -> Result<bool, Refusal> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": user.get("username"), "uid": user.get("uid"), "groups": user.get("groups"), "extra": user.get("extra"),
                "resourceAttributes": {
                    "verb": "get", "version": "v1", "resource": "nodes", "subresource": subresource, "name": node,
                },
            },
        });
        let question = review.to_string();
        if let Some(is_allowed) = self.decisions.get(question.as_bytes()) {
            return Ok(is_allowed);
        }
        let status = self.review(ACCESS, &review).await?;
        let is_allowed = status.get("allowed") == Some(&Value::Bool(true));
        self.decisions.put(question.as_bytes(), is_allowed, if is_allowed { ALLOWED } else { REFUSED });
        Ok(is_allowed)
    }

    /// The status of a review.
    async fn review(&self, path: &str, review: &Value) -> Result<Value, Refusal> {
        let unavailable = || Refusal::unavailable("the virtual API server does not answer; try again");
        let _place = self.places.acquire().await.map_err(|_| unavailable())?;
        let body = review.to_string().into_bytes();
        let request = api::request(Method::POST, path, Some("application/json"), body);
        let answer = self.api.send(request).await.map_err(|error| {
            debug!(path, error = &error as &dyn std::error::Error, "a review failed");
            if error.code() == Some(403) {
                return Refusal::unavailable(
                    "the syncer may not review tokens in the virtual cluster: bind the ClusterRole system:auth-delegator to its user",
                );
            }
            unavailable()
        })?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|_| unavailable())?;
        Ok(answer.get_mut("status").map(Value::take).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::api::scripted::{Answer, Asked, Requests, scripted};

    /// Knows the token `good`, of a user who may read `nodes/metrics`.
    fn reviews() -> (Reviews, Requests) {
        let (api, requests) = scripted(|asked: &Asked| {
            let status = match asked.path.as_str() {
                TOKENS if asked.body["spec"]["token"] == "good" => {
                    json!({"authenticated": true, "user": {"username": "reader", "groups": ["a"]}})
                }
                TOKENS => json!({"error": "token lookup failed"}),
                _ => json!({"allowed": asked.body["spec"]["resourceAttributes"]["subresource"] == "metrics"}),
            };
            Answer::ok(json!({"status": status}))
        });
        (Reviews::new(api), requests)
    }

    async fn code(reviews: &Reviews, token: &str, subresources: &[&str]) -> Result<(), u16> {
        reviews.check(token, "node-1", subresources).await.map_err(|refusal| refusal.code())
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_is_reviewed_once_in_a_while() {
        let (reviews, requests) = reviews();
        for _ in 0..3 {
            assert_eq!(code(&reviews, "good", &["metrics"]).await, Ok(()));
        }
        let spec = &requests.all()[1].body["spec"];
        assert_eq!((&spec["user"], &spec["groups"]), (&json!("reader"), &json!(["a"])));
        assert_eq!(spec["resourceAttributes"]["name"], "node-1");
        assert_eq!(requests.all().len(), 2);
        tokio::time::advance(AUTHENTICATED).await;
        assert_eq!(code(&reviews, "good", &["metrics"]).await, Ok(()));
        assert_eq!(requests.all().len(), 3, "the token is reviewed again, and the permission lives longer");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_refused_is_refused_again_without_a_review_until_it_may_have_changed() {
        let (reviews, requests) = reviews();
        for _ in 0..3 {
            assert_eq!(code(&reviews, "bad", &["metrics"]).await, Err(401));
            assert_eq!(code(&reviews, "good", &["stats"]).await, Err(403));
        }
        assert_eq!(requests.all().len(), 3);
        tokio::time::advance(REFUSED).await;
        assert_eq!(code(&reviews, "bad", &["metrics"]).await, Err(401));
        assert_eq!(requests.all().len(), 4);
    }

    #[tokio::test]
    async fn one_of_several_permissions_is_enough() {
        let (reviews, _) = reviews();
        assert_eq!(code(&reviews, "good", &["pods", "metrics"]).await, Ok(()));
        assert_eq!(code(&reviews, "good", &["pods", "proxy"]).await, Err(403));
    }

    #[tokio::test]
    async fn a_review_that_fails_refuses_nobody_for_good() {
        let (api, _) = scripted(|_: &Asked| Answer::failure(403, "Forbidden"));
        let reviews = Reviews::new(api);
        let refusal = reviews.check("good", "node-1", &["metrics"]).await.unwrap_err();
        assert_eq!(refusal.code(), 503);
        assert!(format!("{refusal:?}").contains("system:auth-delegator"), "{refusal:?}");
        assert_eq!(reviews.users.get(b"good"), None);
    }
}
