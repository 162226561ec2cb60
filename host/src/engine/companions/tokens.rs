//! Service account tokens of the virtual cluster for pods on the host.
//!
//! A pod's tokens are in one Secret beside it. It is made before the host pod, which mounts it, and handed over to that
//! pod, so that it goes with it; if no host pod comes, it goes with the virtual pod. A token is requested from the virtual
//! API server, bound to the virtual pod, and again at 80 % of its life, or when somebody has deleted or edited the Secret.
//! No token is ever logged or written anywhere else.

pub(crate) mod clock;
mod life;
mod renewals;
mod secret;
mod secrets;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::Value;
use weft_core::context::Owner;
use weft_core::kinds::pod::tokens::{TokenRequest, requests};
use weft_core::object::{Host, HostObject, VirtualName, VirtualObject};

use crate::api::Api;
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::companions::{Companion, Work};
use crate::engine::queue::Outcome;
use life::life;
use renewals::{Renewals, renew_after};
use secret::{is_whole, renew_at, with_pod};
use secrets::Secrets;

/// Makes and refreshes the token Secrets of pods.
pub(crate) struct Tokens {
    state: Arc<State>,
    writer: Arc<Writer>,
    secrets: Secrets,
    renewals: Renewals,
}

/// What the Secret of a pod is to have.
struct Wanted<'a> {
    pod: &'a VirtualObject,
    requests: Vec<TokenRequest>,
    /// The reference to the host pod, or before there is one to what all host objects belong to.
    owner: Value,
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
        let secrets = Secrets::new(state.clone(), writer.clone(), host);
        Self { state, writer, secrets, renewals }
    }

    /// Makes the Secret before the host pod that mounts it, whose kubelet would find none, say so and wait.
    async fn prepare(&self, pod: &VirtualObject) -> Result<(), Failed> {
        let requests = requests(pod);
        if requests.is_empty() {
            return self.secrets.remove(&pod.virtual_name()).await;
        }
        // Without an owner there is no host pod either.
        let Some(owner) = self.state.facts().owner.as_ref().map(Owner::reference) else { return Ok(()) };
        let found = self.secrets.find(&pod.virtual_name());
        self.keep(&Wanted { pod, requests, owner }, found).await.map(drop)
    }

    /// Keeps the tokens of a host pod good, and lets them go with it; returns when the next one is due.
    async fn refresh(&self, pod: &VirtualObject, host_pod: &HostObject) -> Result<Outcome, Failed> {
        let requests = requests(pod);
        if requests.is_empty() || pod.is_terminating() || host_pod.is_terminating() || has_ended(host_pod) {
            return Ok(Outcome::Done);
        }
        let found = self.secrets.find(&pod.virtual_name());
        let is_good = found.as_ref().is_some_and(|found| is_whole(found, &requests, pod));
        match self.renewals.repair_pause(pod.uid()) {
            Some(pause) if !is_good => Ok(Outcome::Again(pause)),
            _ => self.keep(&Wanted { pod, requests, owner: with_pod(host_pod) }, found).await,
        }
    }

    /// Writes every token to the Secret, if one is due or missing; returns when the next one is due.
    async fn keep(&self, wanted: &Wanted<'_>, found: Option<Arc<HostObject>>) -> Result<Outcome, Failed> {
        let Wanted { pod, requests, owner } = wanted;
        if let Some(found) = found.as_ref().filter(|found| is_whole(found, requests, pod))
            && let Some(left) = self.renewals.left(pod.uid(), renew_at(found), shortest_life(requests))
        {
            self.secrets.hand_over(found, owner).await?;
            return Ok(Outcome::Again(left));
        }
        let issued = self.issue(pod, requests).await?;
        let renew_after = renew_after(issued.life);
        let renew_at = (self.renewals.wall)().as_second().saturating_add_unsigned(renew_after.as_secs());
        let secret = secret::compose(&self.state.names, pod, owner, &issued.data, renew_at);
        self.secrets.store(found, secret).await?;
        // Not before: a Secret that the host refuses is tried again with the pauses of failures.
        self.renewals.record(pod.uid(), renew_after);
        Ok(Outcome::Again(renew_after))
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
}

impl Companion for Tokens {
    fn kind(&self) -> &'static str {
        "v1/Pod"
    }

    fn before_create<'a>(&'a self, pod: &'a VirtualObject) -> Work<'a, ()> {
        Box::pin(self.prepare(pod))
    }

    fn after_end<'a>(&'a self, pod: &'a VirtualName) -> Work<'a, ()> {
        Box::pin(self.secrets.remove(pod))
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
    use testing::{TOKEN, asked, host_pod, issue, issued, of_pod, pod, stored};
    use weft_core::keys::{DIGEST, PURPOSE_LABEL, TOKEN_POD, TOKEN_REFRESH};
    use weft_core::kinds::pod::tokens::secret_name;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::testing::{Bench, echo, key};

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

    #[tokio::test(start_paused = true)]
    async fn the_secret_is_there_before_the_host_pod_and_is_handed_over_to_it() {
        let bench = Bench::new(echo, issue);
        bench.put_virtual("v1/Pod", Value::Object(pod(false).fields().clone()));
        let syncer = bench.syncer(vec![Arc::new(tokens(&bench))]);
        syncer.reconcile(&key("v1/Pod", "shop", "web")).await;
        assert_eq!(asked(&bench), ["POST secrets", "POST pods", "PATCH secrets"]);
        let created = &bench.host_requests.bodies(&Method::POST)[0];
        assert_eq!(
            created["metadata"]["ownerReferences"][0]["uid"], "uid-owner",
            "it goes with the virtual cluster"
        );
        let patch = bench.host_requests.bodies(&Method::PATCH).remove(0);
        assert_eq!(patch["metadata"]["ownerReferences"][0]["kind"], "Pod");
        assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "uid-new");
        assert_eq!(patch.get("data"), None, "the tokens are good");
        assert_eq!(issued(&bench), 2, "one request a token");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_the_pod_gets_its_tokens_once_and_keeps_none_of_them() {
        let on_host = |asked: &Asked| match asked.path.as_str() {
            "/api/v1/namespaces/team-a/pods" => Answer::failure(403, "Forbidden"),
            _ => echo(asked),
        };
        let bench = Bench::new(on_host, issue);
        bench.put_virtual("v1/Pod", Value::Object(pod(false).fields().clone()));
        let syncer = bench.syncer(vec![Arc::new(tokens(&bench))]);
        let web = key("v1/Pod", "shop", "web");
        for _ in 0..3 {
            assert_eq!(syncer.reconcile(&web).await, Outcome::Refused);
        }
        assert_eq!(asked(&bench), ["POST secrets", "POST pods", "POST pods", "POST pods"]);
        assert_eq!(issued(&bench), 2);
        let pods = bench.state.synced(&web.kind).unwrap();
        pods.r#virtual.remove("shop", "web", ResourceVersion::new("9"), Absence::Deleted);
        assert_eq!(syncer.reconcile(&web).await, Outcome::Done);
        assert_eq!(asked(&bench)[4..], ["DELETE secrets"]);
        let deletion = bench.host_requests.all().pop().unwrap().body;
        assert_eq!(deletion["preconditions"], json!({"uid": "uid-new"}), "{deletion}");
    }

    #[tokio::test]
    async fn a_pod_takes_over_a_secret_of_its_name_with_tokens_of_its_own_and_one_without_tokens_removes_it()
    {
        let left = |secret: &mut Value| {
            secret["metadata"]["ownerReferences"] = json!([{"kind": "ConfigMap", "uid": "uid-owner"}]);
            secret["metadata"]["annotations"][TOKEN_POD] = of_pod("uid-before").into();
        };
        let bench = Bench::new(echo, issue);
        stored(&bench, left);
        tokens(&bench).before_create(&pod(false)).await.unwrap();
        assert_eq!(asked(&bench), ["PATCH secrets"]);
        let patch = bench.host_requests.bodies(&Method::PATCH).remove(0);
        assert_eq!(
            (patch["data"].as_object().unwrap().len(), issued(&bench)),
            (2, 2),
            "the old ones are bound to another pod"
        );

        let bench = Bench::new(echo, issue);
        stored(&bench, left);
        let plain = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "uid-1"}});
        tokens(&bench).before_create(&VirtualObject::from_json(plain).unwrap()).await.unwrap();
        assert_eq!(asked(&bench), ["DELETE secrets"]);
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
                secret["metadata"]["annotations"][TOKEN_POD] = of_pod("uid-before").into();
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
}
