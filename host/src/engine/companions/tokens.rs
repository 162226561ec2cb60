//! Service account tokens of the virtual cluster for pods on the host.
//!
//! A pod's tokens are in one Secret beside it, owned by the host pod, so that it goes with the pod. A
//! token is requested from the virtual API server, bound to the virtual pod, and again at 80 % of its
//! life. No token is ever logged or written anywhere else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::keys::{PURPOSE_LABEL, TOKEN_REFRESH};
use weft_core::kinds::pod::tokens::{TokenRequest, requests, secret_name};
use weft_core::labels;
use weft_core::names::HostName;
use weft_core::object::{HostObject, ResourceType, VirtualName, VirtualObject};

use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::companions::{Companion, Work};
use crate::engine::queue::Outcome;
use crate::engine::resources::secrets;

/// Makes and refreshes the token Secrets of pods.
pub(crate) struct Tokens {
    state: Arc<State>,
    writer: Arc<Writer>,
    secrets: ResourceType,
}

/// Tokens that were issued together.
struct Issued {
    /// Secret key to token, in base 64.
    data: BTreeMap<String, String>,
    refresh_at: Timestamp,
}

impl Tokens {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>) -> Self {
        Self { state, writer, secrets: secrets() }
    }

    /// Writes every token that the pod requests to its Secret, where one is missing or due; returns when the next
    /// one is due.
    async fn refresh(&self, pod: &VirtualObject, host_pod: &HostObject) -> Result<Outcome, Failed> {
        let requests = requests(pod);
        if requests.is_empty() || pod.is_terminating() || host_pod.is_terminating() {
            return Ok(Outcome::Done);
        }
        let name = secret_name(&self.state.names, &pod.virtual_name());
        let secret = self.secret(&name);
        if let Some(secret) = &secret
            && let Some(refresh_at) = fresh_until(secret, &requests, host_pod)
        {
            return Ok(Outcome::Again(refresh_at));
        }
        let issued = self.issue(pod, &requests).await?;
        let wanted = self.compose(pod, host_pod, &name, &issued);
        self.store(&name, secret, wanted).await?;
        Ok(Outcome::Again(until(issued.refresh_at)))
    }

    fn secret(&self, name: &HostName) -> Option<Arc<HostObject>> {
        self.state.synced(&self.secrets.kind())?.host.get(self.state.names.namespace(), name.as_str())
    }

    async fn issue(&self, pod: &VirtualObject, requests: &[TokenRequest]) -> Result<Issued, Failed> {
        let mut issued = Issued { data: BTreeMap::new(), refresh_at: Timestamp::MAX };
        for request in requests {
            let account = VirtualName::new(pod.namespace(), request.service_account.as_str());
            let token = self.writer.issue_token(
                &account,
                pod.name(),
                pod.uid(),
                &request.audiences,
                request.expiration_seconds,
            );
            let failed = Side::Virtual.failed_to("issue a token for", pod.virtual_name());
            let token = token.await.map_err(failed)?;
            issued.data.insert(request.key.clone(), BASE64.encode(token.token));
            issued.refresh_at =
                issued.refresh_at.min(refresh_time(&token.expires, request.expiration_seconds));
        }
        Ok(issued)
    }

    fn compose(&self, pod: &VirtualObject, host_pod: &HostObject, name: &HostName, issued: &Issued) -> Value {
        let mut labels = labels::scope(&self.state.names, pod.namespace());
        labels.insert(PURPOSE_LABEL.into(), "token".into());
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": name.as_str(), "namespace": self.state.names.namespace(), "labels": labels,
                "annotations": {TOKEN_REFRESH: issued.refresh_at.as_second().to_string()},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": host_pod.name(), "uid": host_pod.uid()}],
            },
            "data": issued.data,
        })
    }

    async fn store(
        &self,
        name: &HostName,
        old: Option<Arc<HostObject>>,
        wanted: Value,
    ) -> Result<(), Failed> {
        let failed = |action| Side::Host.failed_to(action, format!("token Secret {name}"));
        let wanted = HostObject::new(wanted.as_object().cloned().unwrap_or_default());
        let stored = match old {
            Some(old) => {
                let change = Change::merge(Value::Object(wanted.fields().clone()));
                self.writer
                    .patch_host(&self.secrets, name, old.uid(), &change)
                    .await
                    .map_err(failed("patch"))?
            }
            None => self.writer.create_host(&self.secrets, &wanted).await.map_err(failed("create"))?,
        };
        if let Some(synced) = self.state.synced(&self.secrets.kind()) {
            synced.host.put(stored);
        }
        Ok(())
    }
}

impl Companion for Tokens {
    fn kind(&self) -> &'static str {
        "v1/Pod"
    }

    fn ensure<'a>(&'a self, pod: &'a VirtualObject, host_pod: &'a HostObject) -> Work<'a, Outcome> {
        Box::pin(self.refresh(pod, host_pod))
    }
}

/// How long the Secret serves this pod; none when a token is missing or due.
fn fresh_until(secret: &HostObject, requests: &[TokenRequest], host_pod: &HostObject) -> Option<Duration> {
    let data = secret.pointer("/data")?.as_object()?;
    let owned = secret.text("/metadata/ownerReferences/0/uid") == Some(host_pod.uid());
    let complete = requests.iter().all(|request| data.contains_key(&request.key));
    let refresh_at = Timestamp::from_second(secret.annotation(TOKEN_REFRESH)?.parse().ok()?).ok()?;
    (owned && complete && refresh_at > Timestamp::now()).then(|| until(refresh_at))
}

/// 80 % of the life that the server gave, which may differ from what was requested.
fn refresh_time(expires: &str, requested_seconds: i64) -> Timestamp {
    let now = Timestamp::now();
    let life = expires
        .parse::<Timestamp>()
        .map_or(requested_seconds, |expires| expires.as_second() - now.as_second());
    Timestamp::from_second(now.as_second() + life * 8 / 10).unwrap_or(now)
}

fn until(time: Timestamp) -> Duration {
    let seconds = time.as_second().saturating_sub(Timestamp::now().as_second());
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, host_object};

    const TOKEN: &str = "the-token-that-nobody-may-see";

    /// Issues tokens for an hour.
    fn issue(asked: &Asked) -> Answer {
        assert!(asked.path.ends_with("/serviceaccounts/default/token"), "{}", asked.path);
        let expires = Timestamp::from_second(Timestamp::now().as_second() + 3600).unwrap().to_string();
        Answer::ok(json!({"status": {"token": TOKEN, "expirationTimestamp": expires}}))
    }

    fn pod(terminating: bool) -> VirtualObject {
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

    fn host_pod(terminating: bool) -> HostObject {
        let mut pod = host_object("v1/Pod", "shop", "web", "uid-1");
        if terminating {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        HostObject::from_json(pod).unwrap()
    }

    /// What an earlier call has stored, as the cache shows it.
    fn stored(bench: &Bench, change: impl FnOnce(&mut Value)) {
        let keys = requests(&pod(false)).into_iter().map(|request| (request.key, BASE64.encode("old")));
        let name = secret_name(&bench.state.names, &VirtualName::new("shop", "web"));
        let refresh_at = Timestamp::now().as_second() + 600;
        let mut secret = json!({
            "metadata": {
                "name": name.as_str(), "namespace": "team-a", "uid": "uid-secret", "resourceVersion": "7",
                "annotations": {TOKEN_REFRESH: refresh_at.to_string()}, "ownerReferences": [{"uid": "uid-host"}],
            },
            "data": keys.collect::<BTreeMap<_, _>>(),
        });
        change(&mut secret);
        bench.put_host("v1/Secret", secret);
    }

    async fn ensure(bench: &Bench, pod: &VirtualObject, host_pod: &HostObject) -> Result<Outcome, Failed> {
        Tokens::new(bench.state.clone(), bench.writer.clone()).ensure(pod, host_pod).await
    }

    #[tokio::test]
    async fn every_token_of_a_pod_is_in_one_secret_that_goes_with_the_host_pod() {
        let bench = Bench::new(echo, issue);
        let outcome = ensure(&bench, &pod(false), &host_pod(false)).await.unwrap();
        let Outcome::Again(after) = outcome else { panic!("it is refreshed later: {outcome:?}") };
        assert!(after <= Duration::from_mins(48), "at 80 % of an hour: {after:?}");
        assert_eq!(bench.host_requests.lines(), ["POST /api/v1/namespaces/team-a/secrets"]);
        let secret = HostObject::from_json(bench.host_requests.bodies(&Method::POST).remove(0)).unwrap();
        let keys: Vec<String> = requests(&pod(false)).into_iter().map(|request| request.key).collect();
        for key in &keys {
            assert_eq!(secret.text(&format!("/data/{key}")), Some(&*BASE64.encode(TOKEN)), "{key}");
        }
        assert_eq!(secret.text("/metadata/ownerReferences/0/uid"), Some("uid-host"));
        assert_eq!(secret.text("/metadata/ownerReferences/0/kind"), Some("Pod"));
        assert_eq!(secret.label(PURPOSE_LABEL), Some("token"));
        let elsewhere = format!("{:?}", secret.pointer("/metadata"));
        assert!(!elsewhere.contains(TOKEN) && !elsewhere.contains(&BASE64.encode(TOKEN)), "{elsewhere}");
        assert_eq!(bench.virtual_requests.all().len(), 2, "one request a token");
    }

    #[tokio::test]
    async fn tokens_that_are_fresh_cause_no_request_until_they_are_due() {
        let bench = Bench::new(echo, issue);
        stored(&bench, |_| {});
        let outcome = ensure(&bench, &pod(false), &host_pod(false)).await.unwrap();
        assert!(matches!(outcome, Outcome::Again(after) if after <= Duration::from_mins(10)), "{outcome:?}");
        assert!(bench.virtual_requests.all().is_empty() && bench.host_requests.all().is_empty());
    }

    #[tokio::test]
    async fn tokens_are_replaced_when_one_is_due_or_missing_or_the_secret_is_of_another_pod() {
        type Case = (&'static str, fn(&mut Value));
        let cases: [Case; 4] = [
            ("due", |secret| secret["metadata"]["annotations"][TOKEN_REFRESH] = "1".into()),
            ("of no known age", |secret| secret["metadata"]["annotations"] = json!({})),
            ("a key is missing", |secret| secret["data"] = json!({"other": ""})),
            ("of another pod", |secret| {
                secret["metadata"]["ownerReferences"][0]["uid"] = "uid-before".into();
            }),
        ];
        for (title, change) in cases {
            let bench = Bench::new(echo, issue);
            stored(&bench, change);
            ensure(&bench, &pod(false), &host_pod(false)).await.unwrap();
            let patches = bench.host_requests.bodies(&Method::PATCH);
            assert_eq!((patches.len(), bench.host_requests.all().len()), (1, 1), "{title}");
            assert_eq!(patches[0]["metadata"]["uid"], "uid-secret", "{title}");
            assert_eq!(patches[0]["metadata"]["ownerReferences"][0]["uid"], "uid-host", "{title}");
            assert_eq!(patches[0]["data"].as_object().unwrap().len(), 2, "{title}");
        }
    }

    #[tokio::test]
    async fn a_pod_that_terminates_on_either_side_or_wants_no_token_gets_none() {
        let plain =
            VirtualObject::from_json(json!({"metadata": {"namespace": "shop", "name": "web"}})).unwrap();
        let pairs = [(pod(true), host_pod(false)), (pod(false), host_pod(true)), (plain, host_pod(false))];
        for (source, host) in pairs {
            let bench = Bench::new(echo, issue);
            assert_eq!(ensure(&bench, &source, &host).await.unwrap(), Outcome::Done);
            assert!(bench.virtual_requests.all().is_empty() && bench.host_requests.all().is_empty());
        }
    }

    #[tokio::test]
    async fn a_failure_names_the_object_and_holds_no_token() {
        let bench = Bench::new(|_| Answer::failure(403, "Forbidden"), issue);
        let error = ensure(&bench, &pod(false), &host_pod(false)).await.unwrap_err();
        assert!(error.to_string().starts_with("failed to create token Secret web-"), "{error}");
        let whole = format!("{error:?}");
        assert!(!whole.contains(TOKEN) && !whole.contains(&BASE64.encode(TOKEN)), "{whole}");
        let bench = Bench::new(echo, |_| Answer::failure(404, "NotFound"));
        let error = ensure(&bench, &pod(false), &host_pod(false)).await.unwrap_err();
        assert_eq!(error.to_string(), "failed to issue a token for shop/web in the virtual cluster");
        assert!(bench.host_requests.all().is_empty(), "no Secret with only some of the tokens");
    }
}
