//! What the parts of the engine share: the stores of every kind, who refers to whom, and the facts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;
use weft_core::context::{Facts, ServiceFact, cluster_ips};
use weft_core::names::Names;
use weft_core::object::{HostObject, Key, Kind, Virtual, VirtualName, VirtualObject};
use weft_core::plan;
use weft_core::unsigned::{self, Ownership};

use crate::engine::ambient::Ambient;
use crate::engine::cache::bindings::Bindings;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::host_nodes::HostNodes;
use crate::engine::cache::index::Index;
use crate::engine::cache::kinds::{Kinds, SyncedKind};
use crate::engine::cache::placement::Placement;
use crate::engine::cache::store::Store;
use crate::engine::cache::version::Epochs;
use crate::engine::queue::Queue;

mod changes;
pub(crate) mod environments;
mod others;
pub(crate) mod tokens;

pub(crate) use others::{is_our_node, is_spoilt, node_key};

/// The caches of the engine, and the queue that their changes go to.
pub(crate) struct State {
    pub(crate) names: Names,
    pub(crate) ambient: Ambient,
    kinds: RwLock<Arc<Kinds>>,
    pub(crate) queue: Queue,
    /// Virtual Namespaces, for their labels.
    pub(crate) namespaces: Arc<Store<Virtual>>,
    /// Which labels each of them had when its pods were last requeued.
    namespace_labels: Mutex<HashMap<String, BTreeMap<String, String>>>,
    /// Virtual Nodes.
    pub(crate) nodes: Arc<Store<Virtual>>,
    /// Virtual PersistentVolumes that mirror the host's.
    pub(crate) volumes: Arc<Store<Virtual>>,
    /// Who names whom: a ConfigMap is used while a pod names it.
    uses: Index,
    /// What each decision read beside its own pair: a change there requeues it.
    reads: Index,
    /// Which pod is on which node.
    placed: Mutex<Placement>,
    /// The host's nodes, where they are mirrored.
    pub(crate) host_nodes: HostNodes,
    /// Which virtual pods have a place that their store does not show.
    pub(crate) bindings: Bindings,
    facts: RwLock<Arc<Facts>>,
    /// The host Service of the virtual API server, as it was when it was last checked.
    service: RwLock<Option<Arc<HostObject>>>,
    /// Ends one wait when that Service, or the owner of the host objects, has been replaced or deleted.
    pub(crate) base_changed: Notify,
    /// Services by virtual namespace, as pods learn of them; dropped when one of them changes in that, and with the namespace.
    services: Mutex<HashMap<String, Arc<[ServiceFact]>>>,
}

impl State {
    pub(crate) fn new(names: Names, facts: Facts, ambient: Ambient) -> Self {
        Self {
            names,
            kinds: RwLock::default(),
            queue: Queue::new(ambient.clone()),
            ambient,
            namespaces: Arc::default(),
            namespace_labels: Mutex::default(),
            nodes: Arc::default(),
            volumes: Arc::default(),
            uses: Index::default(),
            reads: Index::default(),
            placed: Mutex::default(),
            host_nodes: HostNodes::default(),
            bindings: Bindings::default(),
            facts: RwLock::new(Arc::new(facts)),
            service: RwLock::default(),
            base_changed: Notify::default(),
            services: Mutex::default(),
        }
    }

    /// Every kind there is now.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The stores and rules of a kind as they are now.
    pub(crate) fn synced(&self, kind: &Kind) -> Option<Arc<SyncedKind>> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).synced(kind).cloned()
    }

    /// Replaces the snapshot of the kinds.
    pub(crate) fn set_kinds(&self, kinds: Kinds) {
        *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kinds);
    }

    /// Forgets what is known of the keys of a kind that is no longer synced.
    pub(crate) fn forget_kind(&self, kind: &Kind) {
        self.queue.forget(kind);
        self.reads.forget(kind);
        self.uses.forget(kind).into_iter().for_each(|target| self.queue.add(target));
    }

    /// The facts as they are now.
    pub(crate) fn facts(&self) -> Arc<Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the facts.
    pub(crate) fn update_facts(&self, update: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        update(Arc::make_mut(&mut facts));
    }

    /// The host Service of the virtual API server; none before it was checked.
    pub(crate) fn service(&self) -> Option<Arc<HostObject>> {
        self.service.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers the host Service that was checked.
    pub(crate) fn set_service(&self, service: &Arc<HostObject>) {
        *self.service.write().unwrap_or_else(PoisonError::into_inner) = Some(service.clone());
    }

    /// Whether something on the host uses the object of this key.
    pub(crate) fn is_used(&self, key: &Key) -> bool {
        self.uses.has_sources(key)
    }

    /// Whether a virtual pod is on this node.
    pub(crate) fn is_node_used(&self, name: &str) -> bool {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).is_used(name)
    }

    /// Whether the virtual node of this name is one of ours.
    pub(crate) fn is_our_node(&self, name: &str) -> bool {
        self.nodes.get("", name).is_some_and(|node| is_our_node(&node))
    }

    /// The nodes that should be there: those of virtual pods, where they are there or the host runs such a pod on them. A tenant
    /// can write any node into a pod.
    pub(crate) fn used_nodes(&self) -> BTreeSet<String> {
        let nodes = self.placed.lock().unwrap_or_else(PoisonError::into_inner).nodes();
        let (mut used, missing): (BTreeSet<String>, BTreeSet<String>) =
            nodes.into_iter().partition(|node| self.nodes.contains("", node));
        let Some(pods) = self.synced(&Kind::new("v1/Pod")).filter(|_| !missing.is_empty()) else {
            return used;
        };
        let on_missing = self.placed.lock().unwrap_or_else(PoisonError::into_inner).on(&missing);
        let runs = |(pod, node): &(Key, Arc<str>)| {
            self.host_object(&pods, pod).is_some_and(|host| host.text("/spec/nodeName") == Some(node))
        };
        used.extend(on_missing.into_iter().filter(runs).map(|(_, node)| node.to_string()));
        used
    }

    /// The virtual pods on this node.
    pub(crate) fn pods_on(&self, node: &str) -> Vec<Key> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).pods_on(node)
    }

    /// Whether a virtual pod was placed, as far as it shows that or we know it.
    pub(crate) fn was_placed(&self, pod: &VirtualObject) -> bool {
        plan::has_run(pod) || self.bindings.was_placed(pod.uid())
    }

    /// Records what the decision about `key` read.
    pub(crate) fn set_reads(&self, key: &Key, reads: BTreeSet<Key>) {
        self.reads.set(key, reads);
    }

    /// Records one read before it is done, so that what changes meanwhile requeues the reader.
    pub(crate) fn add_read(&self, reader: &Key, read: &Key) {
        self.reads.add(reader, read);
    }

    /// Whether every store that no work can begin without has its first complete list.
    pub(crate) fn is_synced(&self) -> bool {
        let kinds = self.kinds();
        let mut essential = kinds.each_synced().filter(|(_, synced)| synced.mapper.spec().is_essential);
        essential.all(|(_, synced)| synced.is_synced())
            && self.namespaces.is_synced()
            && self.nodes.is_synced()
            && self.volumes.is_synced()
    }

    /// Whether every complete list was begun in this epoch of its server.
    pub(crate) fn is_current(&self, epochs: Epochs) -> bool {
        let stores = [&self.namespaces, &self.nodes, &self.volumes];
        stores.iter().all(|store| store.is_current(epochs.r#virtual))
            && self.host_nodes.nodes.is_current(epochs.host)
            && self.kinds().is_current(epochs)
    }

    /// The host object of `key`, if there is one and it is ours.
    pub(crate) fn host_object(&self, synced: &SyncedKind, key: &Key) -> Option<Arc<HostObject>> {
        let object = synced.host.get(self.names.namespace(), self.names.host_name(&key.name).as_str())?;
        let is_ours = match self.key_of(&object, &key.kind) {
            Some(found) => found == *key,
            None => Ownership::of(synced.mapper.spec().is_owned, self.facts().owner.as_ref())
                .is_some_and(|ownership| unsigned::is_of(&self.names, ownership, &object, &key.name)),
        };
        is_ours.then_some(object)
    }

    /// The pair that a host object of this kind belongs to, if it is ours.
    pub(crate) fn key_of(&self, object: &HostObject, kind: &Kind) -> Option<Key> {
        let identity = self.names.identity(object)?;
        (identity.kind == kind.as_str()).then(|| identity.key())
    }

    /// The pair that a host object of this kind was made for, if it is ours and has lost its identity.
    fn key_of_unsigned(&self, object: &HostObject, kind: &Kind) -> Option<Key> {
        let (facts, synced) = (self.facts(), self.synced(kind)?);
        let ownership = Ownership::of(synced.mapper.spec().is_owned, facts.owner.as_ref())?;
        let namespace = unsigned::namespace(&self.names, ownership, object)?;
        let is_its_name = |name: &VirtualName| self.names.host_name(name).as_str() == object.name();
        let name = self.names.virtual_name(object.name()).or_else(|| {
            // A hash cannot be read.
            let names = synced.r#virtual.names_in(namespace, "");
            names.into_iter().map(|name| VirtualName::new(namespace, name)).find(is_its_name)
        })?;
        (name.namespace == namespace).then(|| Key { kind: kind.clone(), name })
    }

    /// Records the node that a virtual pod is on.
    fn pod_placed(&self, key: &Key, changed: &Changed<Virtual>) {
        let node = changed.object.as_ref().and_then(|pod| pod.text("/spec/nodeName"));
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).set(key, node);
        if node.is_some() || changed.object.is_none() {
            for pod in changed.object.iter().chain(&changed.last) {
                self.bindings.shown(pod.uid());
            }
        }
    }

    fn service_changed(&self, key: &Key) {
        if key.kind.as_str() != "v1/Service" {
            return;
        }
        self.learned_changed(key);
        if *key == dns_service() {
            let dns = self.shared_addresses(key);
            if self.facts().dns != dns {
                self.update_facts(|facts| facts.dns = dns);
            }
        }
    }

    /// The cluster IPs of a Service; none unless both sides have the same.
    fn shared_addresses(&self, key: &Key) -> Vec<IpAddr> {
        let Some(synced) = self.synced(&key.kind) else { return Vec::new() };
        let source = synced.r#virtual.get(&key.name.namespace, &key.name.name);
        let virtual_side = source.map(|object| cluster_ips(&object)).unwrap_or_default();
        let host_side = self.host_object(&synced, key).map(|object| cluster_ips(&object)).unwrap_or_default();
        if virtual_side == host_side { virtual_side } else { Vec::new() }
    }
}

/// The Service of the virtual cluster's DNS, by the name that installers give it.
pub(crate) fn dns_service() -> Key {
    Key { kind: Kind::new("v1/Service"), name: VirtualName::new("kube-system", "kube-dns") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cache::testing::{changed, host_version, on_node, pod, removed, service};
    use crate::engine::testing::Bench;
    use crate::registry::Rules;

    #[tokio::test(start_paused = true)]
    async fn a_service_that_changes_is_read_anew_in_its_namespace_only() {
        let bench = Bench::echoing();
        for namespace in ["shop", "other"] {
            bench.state.services.lock().unwrap().insert(namespace.to_owned(), Arc::new([]));
        }
        changed(&bench, "v1/Service", service("shop", "web", "10.0.0.1"));
        let cached: Vec<String> = bench.state.services.lock().unwrap().keys().cloned().collect();
        assert_eq!(cached, ["other"], "see State::service_changed");
    }

    #[tokio::test(start_paused = true)]
    async fn services_are_read_anew_only_when_pods_would_learn_something_else() {
        let bench = Bench::echoing();
        let web = service("shop", "web", "10.0.0.1");
        let stored = bench.put_virtual("v1/Service", web.clone());
        let facts: Arc<[ServiceFact]> = ServiceFact::of(&stored).into_iter().collect();
        bench.state.services.lock().unwrap().insert("shop".to_owned(), facts);
        let is_cached = || bench.state.services.lock().unwrap().contains_key("shop");
        let mut balanced = web.clone();
        balanced["metadata"]["resourceVersion"] = "6".into();
        balanced["status"] = serde_json::json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        changed(&bench, "v1/Service", balanced);
        assert!(is_cached(), "no pod learns of a status: see State::learned_changed");
        let mut moved = service("shop", "web", "10.0.0.2");
        moved["metadata"]["resourceVersion"] = "7".into();
        changed(&bench, "v1/Service", moved);
        assert!(!is_cached());
    }

    #[tokio::test(start_paused = true)]
    async fn the_dns_service_sets_the_facts_once_both_sides_agree() {
        let bench = Bench::echoing();
        let dns = service("kube-system", "kube-dns", "10.0.0.9");
        changed(&bench, "v1/Service", dns.clone());
        assert_eq!(bench.state.facts().dns, Vec::<IpAddr>::new(), "the host has no such Service yet");
        let host = bench.put_host("v1/Service", host_version(&bench.state, "v1/Service", dns));
        bench.state.host_changed(&Kind::new("v1/Service"), &Changed::new(host));
        assert_eq!(bench.state.facts().dns, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_binding_counts_until_the_store_shows_it_or_the_pod_is_gone() {
        let bench = Bench::echoing();
        bench.state.bindings.accepted("web");
        changed(&bench, "v1/Pod", pod("5", &[]));
        assert!(
            bench.state.bindings.is_accepted("web"),
            "a pod without a node does not show the binding yet"
        );
        changed(&bench, "v1/Pod", on_node(pod("6", &[]), "node-1"));
        assert!(!bench.state.bindings.is_accepted("web"));
        bench.state.bindings.accepted("web");
        removed(&bench, "v1/Pod", pod("7", &[]));
        assert!(!bench.state.bindings.is_accepted("web"), "bindings of pods that are gone must not pile up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_used_while_a_pod_is_on_it() {
        let bench = Bench::echoing();
        changed(&bench, "v1/Pod", on_node(pod("5", &[]), "node-1"));
        assert!(bench.state.is_node_used("node-1"));
        assert_eq!(bench.state.placed.lock().unwrap().nodes(), ["node-1"]);
        removed(&bench, "v1/Pod", on_node(pod("6", &[]), "node-1"));
        assert!(!bench.state.is_node_used("node-1"));
    }

    #[tokio::test]
    async fn only_essential_kinds_have_to_be_complete() {
        let bench = Bench::echoing();
        assert!(bench.state.is_synced());
        let (kinds, _) = Kinds::default().under(&Rules::default(), 1);
        bench.state.set_kinds(kinds);
        assert!(bench.state.is_synced(), "nothing is synced, so nothing is waited for");
        let rules = Rules { mappers: weft_core::kinds::builtin(), ..Default::default() };
        bench.state.set_kinds(Kinds::default().under(&rules, 1).0);
        assert!(!bench.state.is_synced(), "no built-in kind has a list yet");
    }
}
