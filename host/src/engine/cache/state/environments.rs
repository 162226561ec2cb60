//! What pods learn of Services, and what a change of them queues: the ConfigMap that a virtual namespace's pods learn it
//! from.

use std::sync::{Arc, PoisonError};

use weft_core::context::ServiceFact;
use weft_core::keys::{NAMESPACE_LABEL, PURPOSE_LABEL};
use weft_core::kinds::pod::environment::config_map_name;
use weft_core::object::{HostObject, Key, Kind, VirtualName};

use crate::engine::cache::state::State;

/// The kind of the keys of these ConfigMaps. Each stands for a virtual namespace; none is of a pair.
pub(crate) const ENVIRONMENT: &str = "weft.dev/Environment";
/// What they have as the label that says what they are for.
pub(crate) const PURPOSE: &str = "environment";

/// The key of the ConfigMap of a [`weft_core::kinds::pod::environment::scope`].
pub(crate) fn environment(scope: &str) -> Key {
    Key { kind: Kind::new(ENVIRONMENT), name: VirtualName::new(scope, "services") }
}

impl State {
    /// The Services of a virtual namespace that have a cluster IP, sorted by name; of none, there are none.
    pub(crate) fn services_of(&self, namespace: &str) -> Arc<[ServiceFact]> {
        if namespace.is_empty() {
            return Arc::new([]);
        }
        let mut cache = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(services) = cache.get(namespace) {
            return services.clone();
        }
        let mut found = Vec::new();
        if let Some(synced) = self.synced(&Kind::new("v1/Service")) {
            synced.r#virtual.each(namespace, &mut |service| found.extend(ServiceFact::of(service)));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let services: Arc<[ServiceFact]> = found.into();
        // What is cached goes with its namespace, so for one that is gone nothing is.
        if self.namespaces.contains("", namespace) {
            cache.insert(namespace.to_owned(), services.clone());
        }
        services
    }

    /// A Service has changed: if pods learn something else of it than the cache has, the Services of its namespace are read
    /// anew, and their ConfigMap is queued.
    pub(super) fn learned_changed(&self, key: &Key) {
        let VirtualName { namespace, name } = &key.name;
        let mut cache = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(services) = cache.get(namespace) {
            let known = services.binary_search_by(|service| service.name.cmp(name)).ok();
            let known = known.and_then(|index| services.get(index));
            let service = self.synced(&key.kind).and_then(|synced| synced.r#virtual.peek(namespace, name));
            if known == service.and_then(|service| ServiceFact::of(&service)).as_ref() {
                return;
            }
            cache.remove(namespace);
        }
        drop(cache);
        self.environment_changed(namespace);
    }

    /// Queues the ConfigMap of a virtual namespace, if it has one.
    pub(super) fn environment_changed(&self, namespace: &str) {
        if self.has_environment(namespace) {
            self.queue.add(environment(namespace));
        }
    }

    /// Queues the ConfigMap of a scope, if it has none yet.
    pub(crate) fn environment_needed(&self, scope: &str) {
        if !self.has_environment(scope) {
            self.queue.add(environment(scope));
        }
    }

    fn has_environment(&self, scope: &str) -> bool {
        let name = config_map_name(&self.names, scope);
        let config_maps = self.synced(&Kind::new("v1/ConfigMap"));
        config_maps.is_some_and(|synced| synced.host.contains(self.names.namespace(), name.as_str()))
    }

    /// Such a ConfigMap has changed on the host.
    pub(super) fn environment_part_changed(&self, part: &HostObject) {
        self.queue.add(environment(part.label(NAMESPACE_LABEL).unwrap_or_default()));
    }

    /// Requeues all of them: what every pod learns, or who owns them, is another.
    pub(crate) fn requeue_environments(&self) {
        let Some(config_maps) = self.synced(&Kind::new("v1/ConfigMap")) else { return };
        config_maps.host.each(self.names.namespace(), &mut |object| {
            if object.label(PURPOSE_LABEL) == Some(PURPOSE) {
                self.environment_part_changed(object);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weft_core::object::VirtualObject;

    use super::*;
    use crate::engine::cache::changed::Changed;
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::testing::{changed, queued, service};
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::testing::Bench;

    fn with_namespace(name: &str) -> Bench {
        let bench = Bench::echoing();
        let namespace = VirtualObject::from_json(json!({"metadata": {"name": name}})).unwrap();
        bench.state.namespaces.put(Arc::new(namespace));
        bench
    }

    fn put_environment(bench: &Bench, scope: &str) -> Arc<HostObject> {
        let mut labels = weft_core::labels::scope(&bench.state.names, scope);
        labels.insert(PURPOSE_LABEL.into(), PURPOSE.into());
        let name = config_map_name(&bench.state.names, scope);
        let metadata =
            json!({"name": name.as_str(), "namespace": "team-a", "resourceVersion": "5", "labels": labels});
        bench.put_host("v1/ConfigMap", json!({"metadata": metadata}))
    }

    #[tokio::test]
    async fn services_are_sorted_and_cached_until_one_changes() {
        let bench = with_namespace("shop");
        let names = || -> Vec<String> {
            bench.state.services_of("shop").iter().map(|service| service.name.clone()).collect()
        };
        bench.put_virtual("v1/Service", service("shop", "web", "10.0.0.2"));
        bench.put_virtual("v1/Service", service("shop", "db", "10.0.0.1"));
        bench.put_virtual("v1/Service", service("shop", "headless", "None"));
        bench.put_virtual("v1/Service", service("bank", "other", "10.0.0.4"));
        assert_eq!(names(), ["db", "web"], "without an address there is nothing to learn of a Service");
        assert!(bench.state.services_of("").is_empty(), "no namespace has no Services, not those of all");
        let late = bench.put_virtual("v1/Service", service("shop", "late", "10.0.0.3"));
        assert_eq!(names(), ["db", "web"], "the cache is emptied by the change, not by the store");
        bench.state.virtual_changed(&Kind::new("v1/Service"), &Changed::new(late));
        assert_eq!(names(), ["db", "late", "web"]);
    }

    #[tokio::test]
    async fn services_are_not_cached_for_a_namespace_that_is_gone() {
        let bench = with_namespace("shop");
        bench.put_virtual("v1/Service", service("shop", "web", "10.0.0.2"));
        let cached = || bench.state.services.lock().unwrap().len();
        assert_eq!((bench.state.services_of("shop").len(), cached()), (1, 1));
        bench.state.namespaces.remove("", "shop", ResourceVersion::new("9"), Absence::Deleted);
        let (namespace, name) = (String::new(), "shop".to_owned());
        bench.state.namespace_changed(&Changed { namespace, name, object: None, last: None });
        assert_eq!(cached(), 0, "see State::namespace_changed");
        // A pod whose deletion is not seen yet.
        assert_eq!((bench.state.services_of("shop").len(), cached()), (1, 0), "see State::services_of");
    }

    #[tokio::test(start_paused = true)]
    async fn what_pods_learn_of_services_queues_the_config_map_of_their_namespace_if_there_is_one() {
        let bench = with_namespace("shop");
        put_environment(&bench, "shop");
        changed(&bench, "v1/Service", service("bank", "web", "10.0.0.1"));
        assert_eq!(queued(&bench.state).await, ["Service bank/web"], "it has no pods, and so no ConfigMap");
        changed(&bench, "v1/Service", service("shop", "web", "10.0.0.1"));
        assert_eq!(queued(&bench.state).await, ["Environment shop/services", "Service shop/web"]);
        bench.state.services_of("shop");
        let mut labelled = service("shop", "web", "10.0.0.1");
        labelled["metadata"]["labels"] = json!({"a": "b"});
        labelled["metadata"]["resourceVersion"] = "6".into();
        changed(&bench, "v1/Service", labelled);
        assert_eq!(queued(&bench.state).await, ["Service shop/web"], "no pod learns of a label");
    }

    #[tokio::test(start_paused = true)]
    async fn a_config_map_that_changes_on_the_host_queues_itself_and_no_pod() {
        let bench = with_namespace("shop");
        bench.put_virtual("v1/Pod", json!({"metadata": {"namespace": "shop", "name": "web"}}));
        for (scope, expected) in [("shop", "Environment shop/services"), ("", "Environment services")] {
            let object = put_environment(&bench, scope);
            bench.state.host_changed(&Kind::new("v1/ConfigMap"), &Changed::new(object));
            assert_eq!(queued(&bench.state).await, [expected]);
        }
        bench.state.requeue_environments();
        let mut all = queued(&bench.state).await;
        all.sort();
        assert_eq!(all, ["Environment services", "Environment shop/services"]);
    }
}
