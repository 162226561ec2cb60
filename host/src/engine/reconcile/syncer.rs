//! Reconciles one pair: observe, decide, publish, write.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use tracing::{debug, warn};
use weft_core::causes::causes;
use weft_core::object::{Key, VirtualObject};

use crate::engine::apply::Side;
use crate::engine::cache::kinds::{Kinds, SyncedKind};
use crate::engine::cache::state::State;
use crate::engine::events::reason::Reason;
use crate::engine::queue::Outcome;
use crate::engine::reconcile::decide::{self, Decision};
use crate::engine::reconcile::error::Error;
use crate::engine::reconcile::fight::Referee;
use crate::engine::reconcile::lasting::Lasting;
use crate::engine::reconcile::observe::{Observed, Observer};
use crate::engine::reconcile::pace::Pace;
use crate::engine::reconcile::publish::Publisher;
use crate::engine::reconcile::steps::Steps;

/// Keeps pairs in step, one key at a time.
pub(crate) struct Syncer {
    pub(crate) state: Arc<State>,
    pub(crate) observer: Observer,
    pub(crate) publisher: Publisher,
    pub(crate) steps: Steps,
    pub(crate) pace: Pace,
    pub(crate) referee: Referee,
    pub(crate) lasting: Lasting,
}

impl Syncer {
    /// Reconciles one pair, as far as it goes now. A panic is a failure of this pair alone.
    pub(crate) async fn reconcile(&self, key: &Key) -> Outcome {
        // What a panic may have left half done is in the caches, which are right again with the next watch event.
        let reconciled = AssertUnwindSafe(self.reconcile_pair(key)).catch_unwind().await;
        let outcome = reconciled.unwrap_or_else(|_| {
            let synced = self.state.synced(&key.kind);
            let source = synced.and_then(|synced| synced.r#virtual.get(&key.name.namespace, &key.name.name));
            self.failed(key, source.as_ref(), &Error::Panicked(key.to_string()))
        });
        if !matches!(outcome, Outcome::Failed(_)) {
            self.lasting.ended(key);
        }
        outcome
    }

    async fn reconcile_pair(&self, key: &Key) -> Outcome {
        let kinds = self.state.kinds();
        let Some(synced) = kinds.synced(&key.kind) else {
            // Of no pair, or no longer synced; an answer that came late may have left reads behind.
            self.state.set_reads(key, BTreeSet::new());
            let reconciled = self.steps.companions.reconcile(key).await;
            return reconciled.unwrap_or_else(|failed| self.failed(key, None, &failed.into()));
        };
        if !synced.is_ready_for(key, &self.state.names) {
            self.publish_unserved(key, synced);
            return Outcome::Done;
        }
        let observed = match self.observer.observe(key, synced).await {
            Ok(observed) => observed,
            Err(error) => {
                let source = synced.r#virtual.get(&key.name.namespace, &key.name.name);
                return self.failed(key, source.as_ref(), &error);
            }
        };
        match self.bring_into_step(key, &kinds, synced, &observed).await {
            Ok(outcome) => outcome,
            Err(error) => self.failed(key, observed.source.as_ref(), &error),
        }
    }

    async fn bring_into_step(
        &self,
        key: &Key,
        kinds: &Arc<Kinds>,
        synced: &Arc<SyncedKind>,
        observed: &Observed,
    ) -> Result<Outcome, Error> {
        let notes = self.publisher.notes(key, &*synced.mapper);
        let Decision { mut plan, notes } =
            decide::decide(&self.state, kinds, synced, key, observed, notes).await;
        let published = match &observed.source {
            Some(source) => self.publisher.publish(key, &*synced.mapper, source, &plan, notes),
            None => Outcome::Done,
        };
        let paced = self.pace.limit(key, &mut plan, observed.is_ending());
        let outcome = self.steps.carry_out(key, synced, observed, plan).await?;
        self.pace.wrote(key, &paced);
        if let (Some(side), Some(source)) = (paced.fight, &observed.source) {
            self.publish_fight(side, key, synced, source).await;
        }
        Ok(outcome.and(published).and(paced.outcome))
    }

    /// Publishes why nothing of a kind is synced, where the host does not serve it.
    fn publish_unserved(&self, key: &Key, synced: &SyncedKind) {
        let Some(why) = synced.host.unserved() else { return };
        if let Some(source) = synced.r#virtual.peek(&key.name.namespace, &key.name.name) {
            self.publisher.publish_reason(key, &source, Reason::KindNotSynced, &why);
        }
    }

    async fn publish_fight(&self, side: Side, key: &Key, synced: &SyncedKind, source: &Arc<VirtualObject>) {
        let Some(fight) = self.referee.find(side, key, &synced.mapper.spec().resource).await else { return };
        if self.publisher.publish_reason(key, source, fight.reason, &fight.message) {
            warn!(%key, "{}", fight.message);
        }
    }

    fn failed(&self, key: &Key, source: Option<&Arc<VirtualObject>>, error: &Error) -> Outcome {
        let lasts = error.is_of_the_pair() && self.lasting.failed(key);
        let is_new = error.reason(lasts).zip(source).is_some_and(|(reason, object)| {
            self.publisher.publish_reason(key, object, reason, &causes(error))
        });
        if is_new {
            warn!(%key, error = error as &dyn std::error::Error, "not reconciled; trying again");
        } else {
            debug!(%key, error = error as &dyn std::error::Error, "failed; trying again");
        }
        error.outcome()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use http::{Method, StatusCode};
    use serde_json::{Value, json};
    use weft_core::object::Kind;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::companions::stale_endpoints::StaleEndpoints;
    use crate::engine::testing::{Bench, echo, host_object, key, pod, service};
    use crate::registry::Rules;

    const SERVICES: &str = "/api/v1/namespaces/team-a/services";

    fn ran_pod() -> Value {
        let mut ran = pod();
        ran["status"] = json!({"startTime": "2026-01-01T00:00:00Z"});
        ran
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_is_created_patched_and_deleted_with_the_tenants() {
        let bench = Bench::echoing();
        let (syncer, key) = (bench.syncer(Vec::new()), key("v1/Service", "shop", "web"));
        bench.put_virtual("v1/Service", service("web", "5"));
        assert_eq!(syncer.reconcile(&key).await, Outcome::Done);
        assert_eq!(syncer.reconcile(&key).await, Outcome::Done);
        assert_eq!(bench.host_requests.lines(), [format!("POST {SERVICES}")], "created once");
        assert_eq!(bench.virtual_requests.bodies(&Method::PATCH), Vec::<Value>::new(), "nothing flows back");
        let created = &bench.host_requests.bodies(&Method::POST)[0];
        assert_eq!(created["spec"]["selector"]["weft.dev/namespace"], "shop", "{created}");

        bench.put_virtual("v1/Service", service("other", "6"));
        assert_eq!(syncer.reconcile(&key).await, Outcome::Done);
        let patch = bench.host_requests.bodies(&Method::PATCH).pop().expect("the change goes to the host");
        assert_eq!(patch["metadata"]["uid"], "uid-new", "{patch}");
        assert_eq!(patch["spec"]["selector"]["app"], "other", "{patch}");

        let services = bench.state.synced(&key.kind).unwrap();
        services.r#virtual.remove("shop", "web", ResourceVersion::new("7"), Absence::Deleted);
        assert_eq!(syncer.reconcile(&key).await, Outcome::Done);
        let url = format!("{SERVICES}/web-x-shop-x-vc");
        let expected = [format!("POST {SERVICES}"), format!("PATCH {url}"), format!("DELETE {url}")];
        assert_eq!(bench.host_requests.lines(), expected);
        assert!(bench.virtual_requests.all().is_empty(), "nothing was written to the tenant's object");
    }

    #[tokio::test(start_paused = true)]
    async fn a_config_map_is_on_the_host_while_a_pod_names_it() {
        let bench = Bench::echoing();
        let (syncer, key) = (bench.syncer(Vec::new()), key("v1/ConfigMap", "shop", "settings"));
        let metadata =
            json!({"namespace": "shop", "name": "settings", "uid": "uid-2", "resourceVersion": "4"});
        bench.put_virtual("v1/ConfigMap", json!({"metadata": metadata, "data": {"a": "b"}}));
        syncer.reconcile(&key).await;
        assert!(bench.host_requests.all().is_empty(), "nobody uses it: {:?}", bench.host_requests.lines());
        let mut pod = ran_pod();
        pod["spec"]["volumes"] = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
        bench.watch_virtual("v1/Pod", pod);
        syncer.reconcile(&key).await;
        assert_eq!(bench.host_requests.lines(), ["POST /api/v1/namespaces/team-a/configmaps"]);
        assert_eq!(bench.host_requests.bodies(&Method::POST)[0]["data"], json!({"a": "b"}));
    }

    #[tokio::test]
    async fn a_kind_that_is_not_synced_and_one_whose_lists_are_not_complete_cause_no_request() {
        let bench = Bench::echoing();
        let syncer = bench.syncer(Vec::new());
        assert_eq!(syncer.reconcile(&key("v1/Unknown", "shop", "web")).await, Outcome::Done);
        let rules = Rules { mappers: weft_core::kinds::builtin(), ..Rules::default() };
        bench.state.set_kinds(Kinds::default().under(&rules, 1).0);
        bench.put_virtual("v1/Service", service("web", "5"));
        let early = key("v1/Service", "shop", "web");
        assert_eq!(syncer.reconcile(&early).await, Outcome::Done);
        assert!(bench.host_requests.all().is_empty(), "{:?}", bench.host_requests.lines());
        let services = bench.state.synced(&early.kind).unwrap();
        services.r#virtual.set_synced();
        services.host.set_synced();
        assert!(services.take_early().contains(&early), "it comes again with the lists");
    }

    /// A host pod of `shop/web` for the virtual pod of this UID.
    fn host_pod(uid: &str, node: &str) -> Value {
        let mut pod = host_object("v1/Pod", "shop", "web", uid);
        pod["spec"] = json!({"nodeName": node});
        pod
    }

    /// What becomes of a virtual pod that has run and whose host pod the cache does not show, if the host
    /// answers so, after the watch has shown that a host pod was deleted.
    async fn lost(
        answer: fn() -> Answer,
        ended: Option<Value>,
    ) -> (Outcome, Vec<String>, Vec<String>, Bench) {
        let on_host = move |asked: &Asked| {
            if asked.method == Method::GET { answer() } else { echo(asked) }
        };
        let bench = Bench::new(on_host, echo);
        bench.put_virtual("v1/Pod", ran_pod());
        if let Some(ended) = ended {
            bench.put_host("v1/Pod", ended);
            let pods = bench.state.synced(&Kind::new("v1/Pod")).unwrap();
            pods.host.remove("team-a", "web-x-shop-x-vc", ResourceVersion::new("9"), Absence::Deleted);
        }
        let outcome = bench.syncer(Vec::new()).reconcile(&key("v1/Pod", "shop", "web")).await;
        let deletes = |asked: &Asked| asked.method == Method::DELETE;
        let lines =
            bench.virtual_requests.all().iter().filter(|asked| deletes(asked)).map(Asked::line).collect();
        (outcome, bench.host_requests.lines(), lines, bench)
    }

    const HOST_POD: &str = "GET /api/v1/namespaces/team-a/pods/web-x-shop-x-vc";
    const VIRTUAL_POD: &str = "DELETE /api/v1/namespaces/shop/pods/web";

    #[tokio::test(start_paused = true)]
    async fn a_virtual_pod_is_deleted_only_after_the_host_has_no_pod_of_it() {
        let (outcome, host, deletes, _) = lost(|| Answer::failure(404, "NotFound"), None).await;
        assert_eq!(
            (outcome, &host[..], &deletes[..]),
            (Outcome::Done, &[HOST_POD.to_owned()][..], &[VIRTUAL_POD.to_owned()][..])
        );
        let gone = Some(host_pod("uid-1", "node-1"));
        let (_, host, deletes, _) = lost(|| Answer::failure(500, "InternalError"), gone).await;
        assert!(host.is_empty(), "the watch has shown its deletion already: {host:?}");
        assert_eq!(deletes, [VIRTUAL_POD]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_another_host_pod_of_the_name_says_nothing() {
        for (ended, which) in [
            (host_pod("uid-0", "node-1"), "of an earlier virtual pod"),
            (host_pod("uid-1", ""), "not placed: another syncer may have made it again"),
        ] {
            let there = || Answer::ok(host_object("v1/Pod", "shop", "web", "uid-1"));
            let (_, host, deletes, _) = lost(there, Some(ended)).await;
            assert_eq!(
                (host.first().map(String::as_str), &deletes[..]),
                (Some(HOST_POD), &[][..]),
                "{which}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_virtual_pod_stays_while_the_host_has_its_pod_or_cannot_say() {
        let (_, _, deletes, bench) =
            lost(|| Answer::ok(host_object("v1/Pod", "shop", "web", "uid-1")), None).await;
        assert!(deletes.is_empty(), "the pod is there: {deletes:?}");
        let pods = bench.state.synced(&Kind::new("v1/Pod")).unwrap();
        assert!(pods.host.contains("team-a", "web-x-shop-x-vc"), "it is in the cache from now on");

        let (outcome, _, deletes, _) = lost(|| Answer::failure(500, "InternalError"), None).await;
        assert_eq!((outcome, deletes), (Outcome::Failed(None), Vec::new()));

        let unsigned = || {
            let mut pod = host_object("v1/Pod", "shop", "web", "uid-1");
            pod["metadata"]["annotations"] = json!({});
            Answer::ok(pod)
        };
        let (outcome, _, deletes, bench) = lost(unsigned, None).await;
        assert_eq!((outcome, deletes), (Outcome::Refused, Vec::new()), "ours by label, not by identity");
        assert_eq!(bench.reasons().await, ["Warning HostNameTaken"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_is_retried_and_a_refusal_is_published_with_its_side() {
        type Case = (fn() -> Answer, Outcome, &'static [&'static str]);
        let rest = || {
            let details = json!({"retryAfterSeconds": 7});
            Answer::Reply(
                StatusCode::TOO_MANY_REQUESTS,
                json!({"reason": "TooManyRequests", "details": details}),
            )
        };
        let cases: [Case; 4] = [
            (|| Answer::failure(403, "Forbidden"), Outcome::Refused, &["Warning HostRefused"]),
            (|| Answer::failure(500, "InternalError"), Outcome::Failed(None), &[]),
            (|| Answer::failure(504, "Timeout"), Outcome::Failed(None), &[]),
            (rest, Outcome::Failed(Some(Duration::from_secs(7))), &[]),
        ];
        for (answer, expected, reasons) in cases {
            let bench = Bench::new(move |_| answer(), echo);
            bench.put_virtual("v1/Service", service("web", "5"));
            let outcome = bench.syncer(Vec::new()).reconcile(&key("v1/Service", "shop", "web")).await;
            assert_eq!(outcome, expected, "{reasons:?}");
            assert_eq!(bench.reasons().await, *reasons);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_the_virtual_side_refuses_is_published_as_such() {
        let refused = |asked: &Asked| match asked.method {
            Method::PATCH => Answer::failure(403, "Forbidden"),
            _ => echo(asked),
        };
        let bench = Bench::new(echo, refused);
        let (syncer, key) = (bench.syncer(Vec::new()), key("v1/Service", "shop", "web"));
        bench.put_virtual("v1/Service", service("web", "5"));
        syncer.reconcile(&key).await;
        let mut host = bench.created_on_host();
        host["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        bench.put_host("v1/Service", host);
        assert_eq!(syncer.reconcile(&key).await, Outcome::Refused);
        assert_eq!(bench.reasons().await, ["Warning StatusRefused"]);
        let message = bench.events().await[0]["message"].as_str().unwrap_or_default().to_owned();
        assert!(
            message.contains("failed to patch") && message.contains("in the virtual cluster"),
            "{message}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_that_meets_a_conflict_is_tried_again_and_is_no_event() {
        let on_virtual = |asked: &Asked| match asked.method {
            Method::DELETE => Answer::failure(409, "Conflict"),
            _ => echo(asked),
        };
        let bench = Bench::new(echo, on_virtual);
        bench.put_virtual("v1/Pod", ran_pod());
        let outcome = bench.syncer(Vec::new()).reconcile(&key("v1/Pod", "shop", "web")).await;
        let requests = bench.virtual_requests.lines();
        assert_eq!((outcome, requests), (Outcome::Failed(None), vec![VIRTUAL_POD.to_owned()]));
        assert_eq!(bench.reasons().await, Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_hosts_controllers_left_under_our_name_is_replaced() {
        let mut stale = host_object("v1/Endpoints", "shop", "web", "uid-1");
        stale["metadata"]["annotations"] = json!({});
        stale["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"] = "endpoint-controller".into();
        let is_deleted = AtomicBool::new(false);
        let on_host = move |asked: &Asked| match asked.method {
            Method::GET => Answer::ok(stale.clone()),
            Method::POST if !is_deleted.load(Ordering::Relaxed) => Answer::failure(409, "AlreadyExists"),
            Method::DELETE => {
                is_deleted.store(true, Ordering::Relaxed);
                echo(asked)
            }
            _ => echo(asked),
        };
        let bench = Bench::new(on_host, echo);
        let mut without_selector = service("web", "5");
        without_selector["spec"]["selector"] = Value::Null;
        bench.put_virtual("v1/Service", without_selector);
        let metadata = json!({"namespace": "shop", "name": "web", "uid": "uid-2", "resourceVersion": "6"});
        let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}]}]);
        bench.put_virtual("v1/Endpoints", json!({"metadata": metadata, "subsets": subsets}));
        let companion = Arc::new(StaleEndpoints::new(bench.state.clone(), bench.writer.clone()));
        let outcome = bench.syncer(vec![companion]).reconcile(&key("v1/Endpoints", "shop", "web")).await;
        let (all, one) = ("/api/v1/namespaces/team-a/endpoints", "web-x-shop-x-vc");
        let expected = [
            format!("POST {all}"),
            format!("GET {all}/{one}"),
            format!("DELETE {all}/{one}"),
            format!("POST {all}"),
        ];
        assert_eq!(bench.host_requests.lines(), expected);
        assert_eq!(outcome, Outcome::Done);
    }
}
