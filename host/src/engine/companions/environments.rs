//! The variables by which containers learn of Services: a ConfigMap on the host for each virtual namespace with pods.
//!
//! A host pod names it, and is created once it is there and up to date. It follows the Services: running containers keep
//! what they have, as with a kubelet, and those that start later get what is true then.

mod config_map;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use weft_core::kinds::pod::environment::{config_map_name, scope, service_variables};
use weft_core::object::{Host, HostObject, Key, Kind, ResourceType, VirtualObject};

use crate::api::{self, Api};
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::cache::state::environments::{ENVIRONMENT, environment};
use crate::engine::companions::{Companion, Work};
use crate::engine::queue::Outcome;
use crate::engine::resources::config_maps;
use config_map::{compose, difference, is_ours};

/// How often the ConfigMap of a namespace follows its Services while they change: once for many in a burst.
const PACE: Duration = Duration::from_secs(1);

/// Keeps these ConfigMaps.
pub(crate) struct Environments {
    state: Arc<State>,
    writer: Arc<Writer>,
    host: Api<Host>,
    config_maps: ResourceType,
    /// When the ConfigMap of a scope last followed its Services.
    followed: Mutex<HashMap<String, Instant>>,
}

impl Environments {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>, host: Api<Host>) -> Self {
        Self { state, writer, host, config_maps: config_maps(), followed: Mutex::default() }
    }

    /// Brings the ConfigMap of a scope up to date; whether something was written.
    async fn ensure(&self, scope: &str) -> Result<bool, api::Error> {
        let facts = self.state.facts();
        // Without an address of the API server there is no pod either.
        let Some(kubernetes) = facts.kubernetes.first() else { return Ok(false) };
        let variables = service_variables(&self.state.services_of(scope), scope, *kubernetes);
        let wanted = compose(&self.state.names, facts.owner.as_ref(), scope, &variables);
        match self.found(scope) {
            Some(found) => self.patch(scope, &found, &wanted).await,
            None => self.create(scope, &wanted).await.map(|()| true),
        }
    }

    fn found(&self, scope: &str) -> Option<Arc<HostObject>> {
        let name = config_map_name(&self.state.names, scope);
        self.state.synced(&self.config_maps.kind())?.host.get(self.state.names.namespace(), name.as_str())
    }

    async fn create(&self, scope: &str, wanted: &HostObject) -> Result<(), api::Error> {
        match self.writer.create_host(&self.config_maps, wanted).await {
            Err(taken) if taken.is_already_exists() => self.adopt(scope, wanted, taken).await,
            created => {
                self.store(scope, created?);
                Ok(())
            }
        }
    }

    /// What to do about a ConfigMap of our name that the cache does not show: the watch is late, or its labels are gone.
    async fn adopt(&self, scope: &str, wanted: &HostObject, taken: api::Error) -> Result<(), api::Error> {
        let namespace = self.state.names.namespace();
        let found = Arc::new(self.host.get(&self.config_maps, namespace, wanted.name()).await?);
        if !is_ours(&self.state.names, self.state.facts().owner.as_ref(), &found) {
            return Err(taken);
        }
        self.store(scope, found.clone());
        self.patch(scope, &found, wanted).await.map(drop)
    }

    async fn patch(&self, scope: &str, found: &HostObject, wanted: &HostObject) -> Result<bool, api::Error> {
        let Some(change) = difference(found, wanted) else { return Ok(false) };
        let name = config_map_name(&self.state.names, scope);
        let patched = self.writer.patch_host(&self.config_maps, &name, found.uid(), &change).await?;
        self.store(scope, patched);
        Ok(true)
    }

    /// Puts what the host has now into the cache. A Service may have changed since its content was decided, and with the
    /// answer in the cache no watch event will say so.
    fn store(&self, scope: &str, stored: Arc<HostObject>) {
        if let Some(synced) = self.state.synced(&self.config_maps.kind()) {
            synced.host.readmit(stored);
        }
        self.state.queue.add(environment(scope));
    }

    /// Follows the Services of a scope, or deletes the ConfigMap of a namespace that is gone.
    async fn follow(&self, scope: &str) -> Result<Outcome, Failed> {
        if let Some(pause) = self.pause(scope) {
            return Ok(Outcome::Again(pause));
        }
        let is_there = scope.is_empty() || self.state.namespaces.contains("", scope);
        match self.found(scope) {
            Some(found) if !is_there => {
                self.delete(scope, &found).await.map_err(failed_to("delete", scope))?;
            }
            None if !is_there || !self.has_pods(scope) => {}
            _ => {
                if self.ensure(scope).await.map_err(failed_to("write", scope))? {
                    self.record(scope);
                }
            }
        }
        Ok(Outcome::Done)
    }

    async fn delete(&self, scope: &str, found: &HostObject) -> Result<(), api::Error> {
        debug!(namespace = %scope, "deleting the variables of Services of a virtual namespace that is gone");
        let name = config_map_name(&self.state.names, scope);
        self.writer.delete_host(&self.config_maps, &name, found.uid(), None).await.map(drop)
    }

    /// Whether any pod may name the ConfigMap of a scope.
    fn has_pods(&self, scope: &str) -> bool {
        let pods = self.state.synced(&Kind::new(self.kind()));
        pods.is_some_and(|pods| scope.is_empty() || !pods.r#virtual.names_in(scope, "").is_empty())
    }

    /// How long to wait before the Services of a scope are followed again.
    fn pause(&self, scope: &str) -> Option<Duration> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        PACE.checked_sub(followed.get(scope)?.elapsed()).filter(|pause| !pause.is_zero())
    }

    fn record(&self, scope: &str) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, at| at.elapsed() < PACE);
        followed.insert(scope.to_owned(), Instant::now());
    }
}

impl Companion for Environments {
    fn kind(&self) -> &'static str {
        "v1/Pod"
    }

    fn before_create<'a>(&'a self, pod: &'a VirtualObject) -> Work<'a, ()> {
        let scope = scope(pod);
        Box::pin(async move { self.ensure(scope).await.map(drop).map_err(failed_to("write", scope)) })
    }

    /// A pod of an older version of the syncer names no ConfigMap, until somebody debugs it.
    fn ensure<'a>(&'a self, pod: &'a VirtualObject, _: &'a HostObject) -> Work<'a, Outcome> {
        self.state.environment_needed(scope(pod));
        Box::pin(std::future::ready(Ok(Outcome::Done)))
    }

    fn own_kind(&self) -> Option<&'static str> {
        Some(ENVIRONMENT)
    }

    fn reconcile<'a>(&'a self, key: &'a Key) -> Work<'a, Outcome> {
        Box::pin(self.follow(&key.name.namespace))
    }
}

fn failed_to(action: &'static str, scope: &str) -> impl FnOnce(api::Error) -> Failed {
    let name = match scope {
        "" => "the ConfigMap with the variables of the API server's Service".to_owned(),
        _ => format!(
            "the ConfigMap with the variables of the Services in {scope} (a pod with `enableServiceLinks: false` needs none)"
        ),
    };
    Side::Host.failed_to(action, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use serde_json::{Value, json};
    use weft_core::keys::{CLUSTER_LABEL, NAMESPACE_LABEL, PURPOSE_LABEL};

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::testing::{changed, queued, service};
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::testing::{Bench, echo};

    const CONFIG_MAPS: &str = "/api/v1/namespaces/team-a/configmaps";

    /// A virtual cluster with the namespace `shop`, which has the Service `web`.
    fn bench(on_host: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Bench {
        let bench = Bench::new(on_host, echo);
        let shop = json!({"metadata": {"name": "shop", "uid": "uid-shop"}});
        bench.state.namespaces.put(Arc::new(VirtualObject::from_json(shop).unwrap()));
        bench.put_virtual("v1/Service", with_port(service("shop", "web", "10.0.0.7")));
        bench
    }

    fn with_port(mut service: Value) -> Value {
        service["spec"]["ports"] = json!([{"port": 80}]);
        service
    }

    fn environments(bench: &Bench) -> Environments {
        Environments::new(bench.state.clone(), bench.writer.clone(), bench.host.clone())
    }

    fn pod() -> VirtualObject {
        VirtualObject::from_json(json!({"metadata": {"namespace": "shop", "name": "web"}})).unwrap()
    }

    fn name(bench: &Bench, scope: &str) -> String {
        config_map_name(&bench.state.names, scope).to_string()
    }

    /// Reconciles the ConfigMap of `shop`.
    async fn follow(environments: &Environments) -> Outcome {
        environments.reconcile(&environment("shop")).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_is_created_after_the_config_map_that_it_names_and_the_second_finds_it_there() {
        let bench = bench(echo);
        let environments = environments(&bench);
        environments.before_create(&pod()).await.unwrap();
        environments.before_create(&pod()).await.unwrap();
        assert_eq!(bench.host_requests.lines(), [format!("POST {CONFIG_MAPS}")], "once");
        let created = HostObject::from_json(bench.host_requests.bodies(&Method::POST).remove(0)).unwrap();
        assert_eq!(created.name(), name(&bench, "shop"));
        assert_eq!(created.text("/data/WEB_SERVICE_HOST"), Some("10.0.0.7"));
        assert_eq!(created.text("/data/KUBERNETES_SERVICE_HOST"), Some("10.96.0.1"));
        assert_eq!(created.label(CLUSTER_LABEL), Some("vc"));
        assert_eq!(created.label(NAMESPACE_LABEL), Some("shop"));
        assert_eq!(created.label(PURPOSE_LABEL), Some("environment"));
        assert_eq!(
            created.text("/metadata/ownerReferences/0/uid"),
            Some("uid-owner"),
            "it goes with the virtual cluster"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_without_service_links_needs_one_that_has_the_api_server_alone() {
        let bench = bench(echo);
        let mut quiet = pod();
        quiet.spec_mut().insert("enableServiceLinks".into(), false.into());
        environments(&bench).before_create(&quiet).await.unwrap();
        let created = &bench.host_requests.bodies(&Method::POST)[0];
        assert_eq!(created["metadata"]["name"], name(&bench, "").as_str());
        assert_eq!(created["data"]["KUBERNETES_SERVICE_HOST"], "10.96.0.1");
        assert_eq!(created["data"].get("WEB_SERVICE_HOST"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_config_map_follows_the_services_once_for_a_burst_and_before_a_pod_at_once() {
        let bench = bench(echo);
        let environments = environments(&bench);
        environments.before_create(&pod()).await.unwrap();
        let patches = || bench.host_requests.bodies(&Method::PATCH);
        let add = |name: &str| changed(&bench, "v1/Service", with_port(service("shop", name, "10.0.0.8")));
        add("db");
        assert_eq!(follow(&environments).await, Outcome::Done);
        assert_eq!(patches().len(), 1);
        assert_eq!(patches()[0]["data"]["DB_SERVICE_HOST"], "10.0.0.8");
        assert_eq!(patches()[0]["data"].get("WEB_SERVICE_HOST"), None, "only what changes is sent");
        add("cache");
        let Outcome::Again(pause) = follow(&environments).await else { panic!("it is followed later") };
        assert_eq!(patches().len(), 1, "not with each of a burst");
        environments.before_create(&pod()).await.unwrap();
        assert_eq!(patches().len(), 2, "a pod that is created now learns of it");
        let services = bench.state.synced(&Kind::new("v1/Service")).unwrap();
        services.r#virtual.remove("shop", "db", ResourceVersion::new("9"), Absence::Deleted);
        bench.state.services_of("shop");
        let (namespace, name) = ("shop".to_owned(), "db".to_owned());
        let gone = crate::engine::cache::changed::Changed { namespace, name, object: None, last: None };
        bench.state.virtual_changed(&Kind::new("v1/Service"), &gone);
        tokio::time::advance(pause).await;
        follow(&environments).await;
        assert_eq!(patches()[2]["data"]["DB_SERVICE_HOST"], Value::Null, "{:?}", patches());
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_while_the_host_answers_is_not_lost() {
        let bench = bench(echo);
        let environments = environments(&bench);
        environments.before_create(&pod()).await.unwrap();
        assert_eq!(queued(&bench.state).await, ["Environment shop/services"], "see Environments::store");
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_with_its_namespace_and_comes_again_while_a_pod_needs_it() {
        let bench = bench(echo);
        let environments = environments(&bench);
        follow(&environments).await;
        assert!(bench.host_requests.all().is_empty(), "nobody needs it: {:?}", bench.host_requests.lines());
        bench.put_virtual("v1/Pod", json!({"metadata": {"namespace": "shop", "name": "web"}}));
        follow(&environments).await;
        assert_eq!(bench.host_requests.lines(), [format!("POST {CONFIG_MAPS}")], "somebody has deleted it");
        tokio::time::advance(PACE).await;
        bench.state.namespaces.remove("", "shop", ResourceVersion::new("9"), Absence::Deleted);
        follow(&environments).await;
        let expected = format!("DELETE {CONFIG_MAPS}/{}", name(&bench, "shop"));
        assert_eq!(bench.host_requests.lines().last(), Some(&expected));
        let body = &bench.host_requests.all().pop().unwrap().body;
        assert_eq!(body["preconditions"], json!({"uid": "uid-new"}), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_the_cache_does_not_show_is_adopted_if_it_is_ours() {
        for (metadata, expected) in [
            (json!({"labels": {CLUSTER_LABEL: "vc"}}), &["POST", "GET", "PATCH"][..]),
            (json!({"ownerReferences": [{"uid": "uid-owner"}]}), &["POST", "GET", "PATCH"]),
            (json!({"labels": {CLUSTER_LABEL: "other"}}), &["POST", "GET"]),
        ] {
            let is_ours = expected.len() == 3;
            let on_host = move |asked: &Asked| match asked.method {
                Method::POST => Answer::failure(409, "AlreadyExists"),
                Method::GET => {
                    let mut found = json!({"metadata": metadata, "data": {}});
                    found["metadata"]["name"] = "services".into();
                    found["metadata"]["uid"] = "uid-found".into();
                    Answer::ok(found)
                }
                _ => echo(asked),
            };
            let bench = bench(on_host);
            let result = environments(&bench).before_create(&pod()).await;
            assert_eq!(result.is_ok(), is_ours, "{result:?}");
            let methods: Vec<String> =
                bench.host_requests.all().iter().map(|asked| asked.method.to_string()).collect();
            assert_eq!(methods, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_it_holds_the_pod_and_the_reason_says_what_to_do() {
        let on_host = |asked: &Asked| match asked.path.as_str() {
            CONFIG_MAPS => Answer::failure(413, "RequestEntityTooLarge"),
            _ => echo(asked),
        };
        let bench = bench(on_host);
        let syncer = bench.syncer(vec![Arc::new(environments(&bench))]);
        bench.put_virtual("v1/Pod", crate::engine::testing::pod());
        let outcome = syncer.reconcile(&crate::engine::testing::key("v1/Pod", "shop", "web")).await;
        assert_eq!(outcome, Outcome::Refused);
        assert_eq!(bench.host_requests.lines(), [format!("POST {CONFIG_MAPS}")], "no pod");
        let event = &bench.events().await[0];
        assert_eq!(event["reason"], "HostRefused");
        let message = event["message"].as_str().unwrap();
        assert!(
            message.contains("Services in shop") && message.contains("enableServiceLinks: false"),
            "{message}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_of_its_own_reaches_it_through_the_syncer() {
        let bench = bench(echo);
        let syncer = bench.syncer(vec![Arc::new(environments(&bench))]);
        bench.put_virtual("v1/Pod", json!({"metadata": {"namespace": "shop", "name": "web"}}));
        assert_eq!(syncer.reconcile(&environment("shop")).await, Outcome::Done);
        assert_eq!(bench.host_requests.lines(), [format!("POST {CONFIG_MAPS}")]);
    }
}
