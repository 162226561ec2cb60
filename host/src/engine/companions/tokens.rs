//! Service account tokens of the virtual cluster for pods on the host.
//!
//! A pod's tokens are in one Secret beside it, owned by the host pod, so that it goes with the pod. A
//! token is requested from the virtual API server, bound to the virtual pod, and again at 80 % of its
//! life, or when somebody has deleted or edited the Secret. No token is ever logged or written anywhere else.

pub(crate) mod clock;
mod life;
mod renewals;
mod secret;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::Value;
use weft_core::change::Change;
use weft_core::kinds::pod::tokens::{TokenRequest, requests, secret_name};
use weft_core::names::HostName;
use weft_core::object::{Host, HostObject, ResourceType, VirtualName, VirtualObject};

use crate::api::{self, Api};
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::companions::{Companion, Work};
use crate::engine::queue::Outcome;
use crate::engine::resources::secrets;
use life::life;
use renewals::{Renewals, renew_after};
use secret::{is_whole, owner, renew_at};

/// Makes and refreshes the token Secrets of pods.
pub(crate) struct Tokens {
    state: Arc<State>,
    writer: Arc<Writer>,
    host: Api<Host>,
    secrets: ResourceType,
    renewals: Renewals,
}

/// Tokens that were issued together.
struct Issued {
    /// Secret key to token, in base 64.
    data: BTreeMap<String, String>,
    /// That of the one which ends first.
    life: Duration,
}

impl Tokens {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>, host: Api<Host>) -> Self {
        let renewals = Renewals::new(state.ambient.wall());
        Self { state, writer, host, secrets: secrets(), renewals }
    }

    /// Writes every token that the pod requests to its Secret, where one is missing, due or was edited; returns when
    /// the next one is due.
    async fn refresh(&self, pod: &VirtualObject, host_pod: &HostObject) -> Result<Outcome, Failed> {
        let requests = requests(pod);
        if requests.is_empty() || pod.is_terminating() || host_pod.is_terminating() || has_ended(host_pod) {
            return Ok(Outcome::Done);
        }
        let name = secret_name(&self.state.names, &pod.virtual_name());
        let secret = self.secret(&name);
        let waits = match &secret {
            Some(secret) if is_whole(secret, &requests, host_pod) => {
                self.renewals.left(host_pod.uid(), renew_at(secret), shortest_life(&requests))
            }
            _ => self.renewals.repair_pause(host_pod.uid()),
        };
        if let Some(pause) = waits {
            return Ok(Outcome::Again(pause));
        }
        let issued = self.issue(pod, &requests).await?;
        let renew_after = renew_after(issued.life);
        let renew_at = (self.renewals.wall)().as_second().saturating_add_unsigned(renew_after.as_secs());
        let wanted = secret::compose(&self.state.names, pod, host_pod, &issued.data, renew_at);
        self.store(&name, secret, wanted).await?;
        // Not before: a Secret that the host refuses is tried again with the pauses of failures.
        self.renewals.record(host_pod.uid(), renew_after);
        Ok(Outcome::Again(renew_after))
    }

    fn secret(&self, name: &HostName) -> Option<Arc<HostObject>> {
        self.state.synced(&self.secrets.kind())?.host.get(self.state.names.namespace(), name.as_str())
    }

    async fn issue(&self, pod: &VirtualObject, requests: &[TokenRequest]) -> Result<Issued, Failed> {
        let mut issued = Issued { data: BTreeMap::new(), life: Duration::MAX };
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
            issued.life = issued.life.min(life(&token).unwrap_or_else(|| requested_life(request)));
            issued.data.insert(request.key.clone(), BASE64.encode(token));
        }
        Ok(issued)
    }

    async fn store(
        &self,
        name: &HostName,
        old: Option<Arc<HostObject>>,
        wanted: HostObject,
    ) -> Result<(), Failed> {
        let failed = |action| Side::Host.failed_to(action, format!("token Secret {name}"));
        let stored = match old {
            Some(old) => self.patch(name, old.uid(), &wanted).await.map_err(failed("patch"))?,
            None => match self.writer.create_host(&self.secrets, &wanted).await {
                Err(taken) if taken.is_already_exists() => self.adopt(name, &wanted, taken).await,
                created => created,
            }
            .map_err(failed("create"))?,
        };
        if let Some(synced) = self.state.synced(&self.secrets.kind()) {
            synced.host.readmit(stored);
        }
        Ok(())
    }

    async fn patch(
        &self,
        name: &HostName,
        uid: &str,
        wanted: &HostObject,
    ) -> Result<Arc<HostObject>, api::Error> {
        let change = Change::merge(Value::Object(wanted.fields().clone()));
        self.writer.patch_host(&self.secrets, name, uid, &change).await
    }

    /// What to do about a Secret of our name that the cache does not show: it is ours if this pod owns it, and has lost
    /// its labels, or the reply to its creation was lost.
    async fn adopt(
        &self,
        name: &HostName,
        wanted: &HostObject,
        taken: api::Error,
    ) -> Result<Arc<HostObject>, api::Error> {
        let found = self.host.get(&self.secrets, self.state.names.namespace(), name.as_str()).await?;
        match owner(&found) {
            Some(uid) if Some(uid) == owner(wanted) => self.patch(name, found.uid(), wanted).await,
            _ => Err(taken),
        }
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

fn requested_life(request: &TokenRequest) -> Duration {
    Duration::from_secs(u64::try_from(request.expiration_seconds).unwrap_or_default())
}

fn shortest_life(requests: &[TokenRequest]) -> Duration {
    requests.iter().map(requested_life).min().unwrap_or_default()
}

/// Whether no container of the pod will run again.
fn has_ended(host_pod: &HostObject) -> bool {
    matches!(host_pod.text("/status/phase"), Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use serde_json::json;
    use weft_core::digest;
    use weft_core::keys::{DIGEST, PURPOSE_LABEL, TOKEN_REFRESH};

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, host_object};

    const TOKEN: &str = "the-token-that-nobody-may-see";

    /// Issues tokens for an hour.
    fn issue(asked: &Asked) -> Answer {
        assert!(asked.path.ends_with("/serviceaccounts/default/token"), "{}", asked.path);
        Answer::ok(json!({"status": {"token": TOKEN}}))
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
        let data = json!(keys.collect::<BTreeMap<_, _>>());
        let name = secret_name(&bench.state.names, &VirtualName::new("shop", "web"));
        let refresh_at = jiff::Timestamp::now().as_second() + 600;
        let mut secret = json!({
            "metadata": {
                "name": name.as_str(), "namespace": "team-a", "uid": "uid-secret", "resourceVersion": "7",
                "annotations": {TOKEN_REFRESH: refresh_at.to_string(), DIGEST: digest::of_value(&data)},
                "ownerReferences": [{"uid": "uid-host"}],
            },
            "data": data,
        });
        change(&mut secret);
        bench.put_host("v1/Secret", secret);
    }

    fn tokens(bench: &Bench) -> Tokens {
        Tokens::new(bench.state.clone(), bench.writer.clone(), bench.host.clone())
    }

    async fn ensure(bench: &Bench, pod: &VirtualObject, host_pod: &HostObject) -> Result<Outcome, Failed> {
        tokens(bench).ensure(pod, host_pod).await
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
    async fn tokens_are_replaced_when_due_or_missing_or_edited_or_the_secret_is_of_another_pod() {
        type Case = (&'static str, fn(&mut Value));
        let cases: [Case; 6] = [
            ("due", |secret| secret["metadata"]["annotations"][TOKEN_REFRESH] = "1".into()),
            ("of no known age", |secret| secret["metadata"]["annotations"] = json!({})),
            ("of no known content", |secret| {
                secret["metadata"]["annotations"].as_object_mut().unwrap().remove(DIGEST);
            }),
            ("edited", |secret| {
                secret["data"].as_object_mut().unwrap().values_mut().for_each(|token| *token = "eA==".into());
            }),
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
    async fn a_pod_that_terminates_on_either_side_or_has_ended_or_wants_no_token_gets_none() {
        let plain =
            VirtualObject::from_json(json!({"metadata": {"namespace": "shop", "name": "web"}})).unwrap();
        let ended = |phase: &str| {
            let mut host_pod = host_pod(false);
            host_pod.fields_mut().insert("status".into(), json!({"phase": phase}));
            (pod(false), host_pod)
        };
        let pairs = [
            (pod(true), host_pod(false)),
            (pod(false), host_pod(true)),
            (plain, host_pod(false)),
            ended("Succeeded"),
            ended("Failed"),
        ];
        for (source, host) in pairs {
            let bench = Bench::new(echo, issue);
            assert_eq!(ensure(&bench, &source, &host).await.unwrap(), Outcome::Done);
            assert!(bench.virtual_requests.all().is_empty() && bench.host_requests.all().is_empty());
        }
    }

    #[tokio::test]
    async fn a_failure_names_the_object_and_holds_no_token() {
        let bench = Bench::new(|_| Answer::failure(403, "Forbidden"), issue);
        let refused = tokens(&bench);
        refused.ensure(&pod(false), &host_pod(false)).await.unwrap_err();
        let error = refused.ensure(&pod(false), &host_pod(false)).await.unwrap_err();
        assert!(error.to_string().starts_with("failed to create token Secret web-"), "{error}");
        let whole = format!("{error:?}");
        assert!(!whole.contains(TOKEN) && !whole.contains(&BASE64.encode(TOKEN)), "{whole}");
        let bench = Bench::new(echo, |_| Answer::failure(404, "NotFound"));
        let error = ensure(&bench, &pod(false), &host_pod(false)).await.unwrap_err();
        assert_eq!(error.to_string(), "failed to issue a token for shop/web in the virtual cluster");
        assert!(bench.host_requests.all().is_empty(), "no Secret with only some of the tokens");
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_goes_again_and_again_is_repaired_at_once_and_then_after_a_pause() {
        let bench = Bench::new(echo, issue);
        let tokens = tokens(&bench);
        stored(&bench, |secret| secret["data"] = json!({}));
        let repair = async || tokens.ensure(&pod(false), &host_pod(false)).await.unwrap();
        repair().await;
        assert_eq!(bench.host_requests.lines().len(), 1);
        bench.put_host("v1/Secret", {
            let name = secret_name(&bench.state.names, &VirtualName::new("shop", "web"));
            json!({"metadata": {"name": name.as_str(), "namespace": "team-a", "resourceVersion": "200"}})
        });
        let Outcome::Again(pause) = repair().await else { panic!("it is repaired later") };
        assert_eq!(bench.host_requests.lines().len(), 1, "not at once");
        tokio::time::advance(pause).await;
        repair().await;
        assert_eq!(bench.host_requests.lines().len(), 2);
    }

    #[tokio::test]
    async fn a_secret_that_the_cache_does_not_show_is_adopted_if_the_pod_owns_it() {
        for (owner, expected) in
            [("uid-host", &["POST", "GET", "PATCH"][..]), ("uid-other", &["POST", "GET"])]
        {
            let on_host = move |asked: &Asked| match asked.method {
                Method::POST => Answer::failure(409, "AlreadyExists"),
                Method::GET => {
                    let owners = json!([{"uid": owner}]);
                    Answer::ok(
                        json!({"metadata": {"name": "s", "uid": "uid-secret", "ownerReferences": owners}}),
                    )
                }
                _ => echo(asked),
            };
            let bench = Bench::new(on_host, issue);
            let result = ensure(&bench, &pod(false), &host_pod(false)).await;
            assert_eq!(result.is_ok(), owner == "uid-host", "{result:?}");
            let methods: Vec<String> =
                bench.host_requests.all().iter().map(|asked| asked.method.to_string()).collect();
            assert_eq!(methods, expected, "{owner}");
        }
    }
}
