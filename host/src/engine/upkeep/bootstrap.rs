//! What has to be true before the first pod: whose cluster this is, where its API server and its DNS are.

mod forever;
mod host_service;
mod kubernetes;
mod owner;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::{info, warn};
use weft_core::change::Change;
use weft_core::context::cluster_ips;
use weft_core::keys::VIRTUAL_CLUSTER_UID;
use weft_core::names::HostName;
use weft_core::object::{Host, HostObject, Virtual, VirtualName, VirtualObject};

use crate::api::{self, Api};
use crate::engine::apply::Writer;
use crate::engine::cache::state::{State, dns_service};
use crate::engine::informer::identity::{self, Guards};
use crate::engine::resources::services;
use crate::engine::upkeep::placed;

/// How often all this is checked again.
const PERIOD: Duration = Duration::from_secs(30);
/// The same while it is not as it should be.
const RETRY: Duration = Duration::from_secs(2);

/// Bootstraps the virtual cluster, and checks that it stays so.
pub(crate) struct Bootstrap {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) host: Api<Host>,
    pub(crate) r#virtual: Api<Virtual>,
    pub(crate) guards: Guards,
    /// Name of the host Service of the virtual API server.
    pub(crate) service: String,
}

/// Why the virtual cluster is not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the host has no Service {namespace}/{name}; create it (it exposes the virtual API server) or set `cluster.service`"
    )]
    NoService { namespace: String, name: String },
    #[error("the host Service {0} has no cluster IP; it must not be headless")]
    NoAddress(String),
    #[error(
        "the virtual cluster is not the one whose objects are on the host: its kube-system has the UID {found}, expected \
         {expected}. Nothing is written. If its storage was replaced on purpose, remove the annotation {VIRTUAL_CLUSTER_UID} \
         from the host Service {service}"
    )]
    OtherCluster { found: String, expected: String, service: String },
    #[error(transparent)]
    Identity(#[from] identity::Error),
    #[error(
        "`host` and `virtual` lead to the same API server: both have the Service {0} with the same UID. Nothing is written. \
         Set `virtual.kubeconfig` to the virtual cluster's"
    )]
    SameServer(String),
    #[error("failed to {action}")]
    Api { action: &'static str, source: api::Error },
}

impl Bootstrap {
    /// Bootstraps once; to be repeated until it succeeds.
    async fn run(&self) -> Result<(), Error> {
        let service = self.host_service().await?;
        let addresses = cluster_ips(&service);
        if addresses.is_empty() {
            return Err(Error::NoAddress(self.service.clone()));
        }
        self.check_service(&service).await?;
        self.check_identity(&service).await?;
        if self.state.facts().kubernetes != addresses {
            self.state.update_facts(|facts| facts.kubernetes.clone_from(&addresses));
            self.state.requeue_environments();
        }
        self.remember_service(&service);
        self.ensure_owner().await?;
        self.move_kubernetes(&addresses).await?;
        self.ensure_dns().await
    }

    /// Repeats the bootstrap for ever; sets `ready` to whether it succeeded.
    async fn keep(self, ready: tokio::sync::watch::Sender<bool>) {
        let (mut reported, mut has_failed) = (None, false);
        loop {
            let pause = if *ready.borrow() && !has_failed { PERIOD } else { RETRY };
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                () = self.guards.doubted(), if *ready.borrow() => {}
                () = self.state.base_changed.notified() => {}
            }
            let result = self.run().await;
            has_failed = result.is_err();
            match &result {
                Ok(()) => reported = None,
                // A server that is away is not another server.
                Err(Error::Api { .. } | Error::Identity(identity::Error::Api { .. })) => continue,
                Err(error) => {
                    let text = Some(error.to_string());
                    if reported != text {
                        warn!(error = error as &dyn std::error::Error, "syncing is stopped");
                    }
                    reported = text;
                }
            }
            ready.send_if_modified(|ready| std::mem::replace(ready, result.is_ok()) != result.is_ok());
        }
    }

    /// Takes what the Service records, and has what should be recorded there written again where it is another one.
    fn remember_service(&self, service: &Arc<HostObject>) {
        if self.is_known(service) {
            return;
        }
        placed::recall(&self.state, service);
        self.state.bindings.touch();
        self.state.set_service(service);
    }

    /// Sets the identity that the guards expect: that of the virtual cluster recorded on the host.
    async fn check_identity(&self, service: &HostObject) -> Result<(), Error> {
        let found = self.guards.r#virtual.identity().await?;
        match service.annotation(VIRTUAL_CLUSTER_UID) {
            Some(expected) if expected == found => {
                self.guards.expect(&found);
                Ok(())
            }
            Some(expected) => Err(self.other_cluster(found, expected.to_owned())),
            None => {
                info!(uid = found, "recording the virtual cluster's identity on the host");
                let change =
                    Change::merge(json!({"metadata": {"annotations": {VIRTUAL_CLUSTER_UID: found}}}));
                let (services, name) = (services(), HostName::of(service));
                let patched = self.writer.patch_host(&services, &name, service.uid(), &change);
                let failed = |source| Error::Api {
                    action: "record the virtual cluster's identity on the host",
                    source,
                };
                patched.await.map_err(failed)?;
                self.guards.expect(&found);
                Ok(())
            }
        }
    }

    fn other_cluster(&self, found: String, expected: String) -> Error {
        Error::OtherCluster { found, expected, service: self.service.clone() }
    }

    /// Creates the virtual DNS Service where there is none, so that its address is known before the first
    /// pod; whoever installs the DNS finds it and keeps it.
    async fn ensure_dns(&self) -> Result<(), Error> {
        let VirtualName { namespace, name } = dns_service().name;
        let failed = |source| Error::Api { action: "make the virtual Service kube-system/kube-dns", source };
        match self.r#virtual.get(&services(), &namespace, &name).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(failed(error)),
        }
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": {
                "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
            }},
            "spec": {"selector": {"k8s-app": "kube-dns"}, "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
            ]},
        });
        let service = VirtualObject::new(service.as_object().cloned().unwrap_or_default());
        match self.writer.create_virtual(&services(), &service).await {
            Err(error) if error.is_already_exists() => Ok(()),
            result => result.map(drop).map_err(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicU16, Ordering};

    use http::Method;
    use serde_json::Value;
    use weft_core::context::Owner;
    use weft_core::keys::PLACED;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::queue::Outcome;
    use crate::engine::testing::{Bench, echo, identity_answer, key, pod, settle};

    const SERVICE: &str = "/api/v1/namespaces/team-a/services/vc";
    pub(super) const OWNER: &str = "/api/v1/namespaces/team-a/configmaps/vc";
    pub(super) const KUBERNETES: &str = "/api/v1/namespaces/default/services/kubernetes";
    const DNS: &str = "/api/v1/namespaces/kube-system/services/kube-dns";

    /// The Service of the virtual API server on the host, which remembers the cluster `cluster-1`.
    pub(super) fn service() -> Value {
        json!({
            "metadata": {"name": "vc", "namespace": "team-a", "uid": "uid-service",
                         "annotations": {VIRTUAL_CLUSTER_UID: "cluster-1"}},
            "spec": {"clusterIPs": ["10.0.0.5"]},
        })
    }

    /// The virtual cluster `cluster-1`, whose Service `default/kubernetes` is at `address`.
    fn cluster(asked: &Asked, address: &str, has_dns: bool) -> Answer {
        match asked.line().strip_prefix("GET ") {
            Some("/api/v1/namespaces") => identity_answer("cluster-1", 7),
            Some(KUBERNETES) => Answer::ok(json!({
                "metadata": {"name": "kubernetes", "namespace": "default", "uid": "uid-kubernetes", "resourceVersion": "1"},
                "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address]},
            })),
            Some(DNS) if has_dns => Answer::ok(json!({"metadata": {"name": "kube-dns"}})),
            _ => echo(asked),
        }
    }

    pub(super) fn bench(service: Option<Value>, address: &'static str, has_dns: bool) -> Bench {
        let on_host = move |asked: &Asked| match &service {
            _ if asked.line() == format!("GET {OWNER}") => {
                Answer::ok(json!({"metadata": {"name": "vc", "uid": "uid-owner-1"}}))
            }
            Some(service) if asked.method == Method::GET => Answer::ok(service.clone()),
            _ => echo(asked),
        };
        let bench = Bench::new(on_host, move |asked| cluster(asked, address, has_dns));
        bench.state.update_facts(|facts| facts.owner = None);
        bench
    }

    pub(super) fn bootstrap(bench: &Bench) -> Bootstrap {
        Bootstrap {
            state: bench.state.clone(),
            writer: bench.writer.clone(),
            host: bench.host.clone(),
            r#virtual: bench.r#virtual.clone(),
            guards: bench.guards(),
            service: "vc".to_owned(),
        }
    }

    pub(super) fn writes(bench: &Bench) -> Vec<String> {
        let all = bench.host_requests.lines().into_iter().chain(bench.virtual_requests.lines());
        all.filter(|line| !line.starts_with("GET ")).collect()
    }

    #[tokio::test]
    async fn a_service_that_is_missing_or_headless_stops_the_start_and_the_message_says_what_to_do() {
        let missing = bench(None, "10.0.0.5", true);
        let error = bootstrap(&missing).run().await.unwrap_err().to_string();
        assert!(error.contains("no Service team-a/vc") && error.contains("set `cluster.service`"), "{error}");
        let mut headless = service();
        headless["spec"]["clusterIPs"] = json!(["None"]);
        let headless = bench(Some(headless), "10.0.0.5", true);
        let error = bootstrap(&headless).run().await.unwrap_err().to_string();
        assert!(error.contains("vc has no cluster IP") && error.contains("must not be headless"), "{error}");
        assert_eq!([writes(&missing), writes(&headless)], [Vec::<String>::new(), Vec::new()]);
    }

    #[tokio::test]
    async fn another_virtual_cluster_is_refused_and_the_message_names_the_annotation_to_remove() {
        let mut other = service();
        other["metadata"]["annotations"][VIRTUAL_CLUSTER_UID] = "cluster-0".into();
        let bench = bench(Some(other), "10.96.0.1", false);
        let error = bootstrap(&bench).run().await.unwrap_err();
        assert!(matches!(error, Error::OtherCluster { .. }), "{error:?}");
        for part in ["cluster-1", "expected cluster-0", VIRTUAL_CLUSTER_UID, "host Service vc"] {
            assert!(error.to_string().contains(part), "{part} is not in: {error}");
        }
        assert_eq!(writes(&bench), Vec::<String>::new(), "nothing is written");
    }

    #[tokio::test]
    async fn the_identity_is_recorded_on_the_host_where_there_is_none_and_expected_from_then_on() {
        let mut unmarked = service();
        unmarked["metadata"]["annotations"] = json!({});
        let unmarked = bench(Some(unmarked), "10.0.0.5", true);
        let first = bootstrap(&unmarked);
        first.run().await.unwrap();
        assert_eq!(writes(&unmarked), [format!("PATCH {SERVICE}")]);
        let metadata = &unmarked.host_requests.bodies(&Method::PATCH)[0]["metadata"];
        assert_eq!(
            *metadata,
            json!({"uid": "uid-service", "annotations": {VIRTUAL_CLUSTER_UID: "cluster-1"}})
        );
        first.guards.r#virtual.check().await.unwrap();

        let marked = bench(Some(service()), "10.0.0.5", true);
        bootstrap(&marked).run().await.unwrap();
        assert_eq!(writes(&marked), Vec::<String>::new(), "it is there already");
    }

    #[tokio::test]
    async fn address_and_owner_are_facts_and_the_service_says_what_was_placed() {
        let mut service = service();
        service["metadata"]["annotations"][PLACED] = "uid-1".into();
        let bench = bench(Some(service), "10.0.0.5", true);
        bench.put_virtual("v1/Pod", pod());
        let bootstrap = bootstrap(&bench);
        bootstrap.run().await.unwrap();
        let facts = bench.state.facts();
        assert_eq!(facts.kubernetes, ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(facts.owner, Some(Owner { name: "vc".to_owned(), uid: "uid-owner-1".to_owned() }));
        let pod = key("v1/Pod", "shop", "web");
        assert_eq!(bench.state.queue.next().await, Some(pod.clone()));
        assert!(bench.state.bindings.was_placed("uid-1"));
        bench.state.queue.done(&pod, Outcome::Done);
        bootstrap.run().await.unwrap();
        let next = futures::FutureExt::now_or_never(bench.state.queue.next());
        assert_eq!(next, None, "the owner is the same");
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_or_service_that_changes_is_read_at_once() {
        let bench = bench(Some(service()), "10.0.0.5", true);
        let read = || bench.host_requests.lines().iter().filter(|line| line.contains(SERVICE)).count();
        tokio::spawn(bootstrap(&bench).keep(tokio::sync::watch::Sender::new(true)));
        settle().await;
        assert_eq!(read(), 0);
        bench.state.base_changed.notify_one();
        settle().await;
        assert_eq!(read(), 1);
    }

    #[tokio::test]
    async fn the_dns_service_is_created_where_there_is_none() {
        let bench = bench(Some(service()), "10.0.0.5", false);
        bootstrap(&bench).run().await.unwrap();
        assert_eq!(writes(&bench), ["POST /api/v1/namespaces/kube-system/services"]);
        let created = &bench.virtual_requests.bodies(&Method::POST)[0];
        assert_eq!(created["metadata"]["name"], "kube-dns");
        assert_eq!(created["spec"]["selector"], json!({"k8s-app": "kube-dns"}));

        let raced = |asked: &Asked| match asked.method {
            Method::POST => Answer::failure(409, "AlreadyExists"),
            _ => cluster(asked, "10.0.0.5", false),
        };
        let raced = Bench::new(|_| Answer::ok(service()), raced);
        bootstrap(&raced).run().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn another_cluster_ends_readiness_and_a_server_that_is_away_does_not() {
        let code = Arc::new(AtomicU16::new(200));
        let answered = code.clone();
        let on_host = move |_: &Asked| match answered.load(Ordering::Relaxed) {
            200 => Answer::ok(service()),
            code => Answer::failure(code, "Scripted"),
        };
        let bench = Bench::new(on_host, |asked| cluster(asked, "10.0.0.5", true));
        let (ready, is_ready) = tokio::sync::watch::channel(true);
        tokio::spawn(bootstrap(&bench).keep(ready));
        // The Service is missing with 404: nothing may be written.
        for (answer, expected) in [(500, true), (404, false), (500, false), (200, true)] {
            code.store(answer, Ordering::Relaxed);
            tokio::time::sleep(PERIOD + Duration::from_secs(1)).await;
            assert_eq!(*is_ready.borrow(), expected, "the host answers {answer}");
        }
    }
}
