//! What the parts of the engine share: the stores of every kind, who looks at whom, and the facts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::Value;
use weft_core::context::{Facts, Lookup, ServiceFact, cluster_ips};
use weft_core::mapper::{Life, Mapper};
use weft_core::names::Names;
use weft_core::object::{Host, HostObject, Key, Kind, Virtual, VirtualName, VirtualObject};

use crate::engine::index::Index;
use crate::engine::placement::Placement;
use crate::engine::queue::Queue;
use crate::engine::store::{Change, Store};
use crate::engine::watch::Changed;

/// The stores and rules of one kind.
pub(crate) struct Pair {
    pub(crate) mapper: Arc<dyn Mapper>,
    pub(crate) r#virtual: Arc<Store<Virtual>>,
    pub(crate) host: Arc<Store<Host>>,
}

/// Everything that is known, in one place.
pub(crate) struct State {
    pub(crate) names: Names,
    pub(crate) kinds: BTreeMap<Kind, Pair>,
    pub(crate) queue: Queue,
    /// Virtual Namespaces, for their labels.
    pub(crate) namespaces: Arc<Store<Virtual>>,
    /// Virtual Nodes.
    pub(crate) nodes: Arc<Store<Virtual>>,
    /// Virtual PersistentVolumes that mirror the host's.
    pub(crate) volumes: Arc<Store<Virtual>>,
    /// Who names whom: a ConfigMap is used while a pod names it.
    uses: Index,
    /// What each decision read beside its own pair: a change there asks for another look.
    reads: Index,
    /// Which pod is on which node.
    placed: Mutex<Placement>,
    /// UIDs of virtual pods whose binding was accepted but is not in the store yet.
    bound: Mutex<HashSet<String>>,
    facts: RwLock<Arc<Facts>>,
    /// Services by virtual namespace, as pods learn of them; emptied when one changes.
    services: Mutex<HashMap<String, Arc<[ServiceFact]>>>,
}

/// Reads for one decision, remembered. Cheap to clone; clones remember together.
#[derive(Clone)]
pub(crate) struct View {
    state: Arc<State>,
    reads: Arc<Mutex<BTreeSet<Key>>>,
}

impl State {
    pub(crate) fn new(names: Names, mappers: Vec<Arc<dyn Mapper>>, facts: Facts) -> Self {
        let pair = |mapper: Arc<dyn Mapper>| {
            (mapper.resource().kind(), Pair { mapper, r#virtual: Arc::default(), host: Arc::default() })
        };
        Self {
            names,
            kinds: mappers.into_iter().map(pair).collect(),
            queue: Queue::default(),
            namespaces: Arc::default(),
            nodes: Arc::default(),
            volumes: Arc::default(),
            uses: Index::default(),
            reads: Index::default(),
            placed: Mutex::default(),
            bound: Mutex::default(),
            facts: RwLock::new(Arc::new(facts)),
            services: Mutex::default(),
        }
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

    /// Whether something on the host uses the object of this key.
    pub(crate) fn is_used(&self, key: &Key) -> bool {
        self.uses.has_sources(key)
    }

    /// Whether a virtual pod is on this node.
    pub(crate) fn is_node_used(&self, name: &str) -> bool {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).is_used(name)
    }

    /// The nodes that virtual pods are on.
    pub(crate) fn used_nodes(&self) -> Vec<String> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).nodes()
    }

    /// Notes that the virtual server has accepted a binding, which its answer does not show.
    pub(crate) fn set_bound(&self, uid: &str) {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned());
    }

    /// Whether a binding was accepted that the store does not show yet.
    pub(crate) fn is_bound(&self, uid: &str) -> bool {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }

    /// Records what the decision about `key` read.
    pub(crate) fn set_reads(&self, key: &Key, reads: BTreeSet<Key>) {
        self.reads.set(key, reads);
    }

    /// Whether every store has its first complete list.
    pub(crate) fn is_synced(&self) -> bool {
        let pairs = self.kinds.values().all(|pair| pair.r#virtual.is_synced() && pair.host.is_synced());
        pairs && self.namespaces.is_synced() && self.nodes.is_synced() && self.volumes.is_synced()
    }

    /// The host object of `key`, if there is one and it is ours.
    pub(crate) fn host_object(&self, key: &Key) -> Option<Arc<HostObject>> {
        let pair = self.kinds.get(&key.kind)?;
        let object = pair.host.get(self.names.namespace(), self.names.host_name(&key.name).as_str())?;
        self.key_of(&object, &key.kind).filter(|found| found == key).map(|_| object)
    }

    /// The pair that a host object of this kind belongs to, if it is ours.
    pub(crate) fn key_of(&self, object: &HostObject, kind: &Kind) -> Option<Key> {
        let identity = self.names.identity(object)?;
        (identity.kind == kind.as_str()).then(|| identity.key())
    }

    /// Takes note of a change of a virtual object of one of the synced kinds.
    pub(crate) fn virtual_changed(&self, kind: &Kind, changed: Changed<Virtual>) {
        let name = VirtualName::new(changed.namespace.as_str(), changed.name.as_str());
        let key = Key { kind: kind.clone(), name };
        if kind.as_str() == "v1/Pod" {
            self.pod_placed(&key, &changed);
        }
        if let Some(pair) = self.kinds.get(kind) {
            let targets = changed.object.map(|object| pair.mapper.targets(&object)).unwrap_or_default();
            // Before the object itself: a pod finds its ConfigMaps there.
            self.uses.set(&key, targets).into_iter().for_each(|target| self.queue.add(target));
        }
        self.noticed(key);
    }

    /// Takes note of a change of a host object of one of the synced kinds.
    pub(crate) fn host_changed(&self, kind: &Kind, changed: &Changed<Host>) {
        let object = changed.object.as_ref().or(changed.last.as_ref());
        let Some(key) = object.and_then(|object| self.key_of(object, kind)) else { return };
        self.noticed(key);
    }

    /// A pair has changed, on either side.
    fn noticed(&self, key: Key) {
        self.service_changed(&key);
        self.look_again(&key);
        self.queue.add(key);
    }

    /// Takes in the host's answer to a write of ours, as if the watch had shown it.
    pub(crate) fn host_answered(&self, kind: &Kind, object: &Arc<HostObject>) {
        let Some(pair) = self.kinds.get(kind) else { return };
        if pair.host.put(object.clone()) == Change::Stored
            && let Some(key) = self.key_of(object, kind)
        {
            self.answered(pair, key);
        }
    }

    /// Takes in the virtual API server's answer to a write of ours, as if the watch had shown it.
    pub(crate) fn virtual_answered(&self, kind: &Kind, object: &Arc<VirtualObject>) {
        let Some(pair) = self.kinds.get(kind) else { return };
        if pair.r#virtual.put(object.clone()) == Change::Stored {
            self.answered(pair, Key { kind: kind.clone(), name: object.virtual_name() });
        }
    }

    fn answered(&self, pair: &Pair, key: Key) {
        self.service_changed(&key);
        self.look_again(&key);
        // What the host chose in its answer, such as an address, is to flow back. A pod's answers hold
        // nothing of the kind: what happens to it comes by the watch.
        if pair.mapper.policy().life == Life::Data {
            self.queue.add(key);
        }
    }

    /// Asks for another look at everything whose last decision read `key`.
    pub(crate) fn look_again(&self, key: &Key) {
        self.reads.sources(key).into_iter().for_each(|reader| self.queue.add(reader));
    }

    /// Asks for another look at every pod of a virtual namespace.
    pub(crate) fn look_at_pods(&self, namespace: &str) {
        let kind = Kind::new("v1/Pod");
        let Some(pair) = self.kinds.get(&kind) else { return };
        for (_, name) in pair.r#virtual.names().into_iter().filter(|(found, _)| found == namespace) {
            self.queue.add(Key { kind: kind.clone(), name: VirtualName::new(namespace, name) });
        }
    }

    /// Takes note of the node that a virtual pod is on.
    fn pod_placed(&self, key: &Key, changed: &Changed<Virtual>) {
        let node = changed.object.as_ref().and_then(|pod| pod.text("/spec/nodeName"));
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).set(key, node);
        if node.is_some() || changed.object.is_none() {
            let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
            for pod in changed.object.iter().chain(&changed.last) {
                bound.remove(pod.uid());
            }
        }
    }

    fn service_changed(&self, key: &Key) {
        if key.kind.as_str() != "v1/Service" {
            return;
        }
        self.services.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.name.namespace);
        if *key == dns_service() {
            let dns = self.shared_addresses(key);
            if self.facts().dns != dns {
                self.update_facts(|facts| facts.dns = dns);
            }
        }
    }

    /// The cluster IPs of a Service, once both sides have the same.
    fn shared_addresses(&self, key: &Key) -> Vec<IpAddr> {
        let Some(pair) = self.kinds.get(&key.kind) else { return Vec::new() };
        let source = pair.r#virtual.get(&key.name.namespace, &key.name.name);
        let ours = source.map(|object| cluster_ips(&object)).unwrap_or_default();
        let hosts = self.host_object(key).map(|object| cluster_ips(&object)).unwrap_or_default();
        if ours == hosts { ours } else { Vec::new() }
    }
}

impl View {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state, reads: Arc::default() }
    }

    /// What was read.
    pub(crate) fn into_reads(self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.reads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self, key: Key) {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }
}

impl Lookup for View {
    fn object(&self, key: &Key) -> Option<Arc<VirtualObject>> {
        self.read(key.clone());
        self.state.kinds.get(&key.kind)?.r#virtual.get(&key.name.namespace, &key.name.name)
    }

    fn namespace_labels(&self, namespace: &str) -> Arc<BTreeMap<String, String>> {
        // Not a remembered read: a change of labels looks at the namespace's pods by itself.
        let object = self.state.namespaces.get("", namespace);
        let labels = object.as_ref().and_then(|object| object.labels()).into_iter().flatten();
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        Arc::new(labels.filter_map(text).collect())
    }

    fn services(&self, namespace: &str) -> Arc<[ServiceFact]> {
        let mut cache = self.state.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(services) = cache.get(namespace) {
            return services.clone();
        }
        let mut found = Vec::new();
        if let Some(pair) = self.state.kinds.get(&Kind::new("v1/Service")) {
            pair.r#virtual.each(namespace, &mut |service| found.extend(ServiceFact::of(service)));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let services: Arc<[ServiceFact]> = found.into();
        cache.insert(namespace.to_owned(), services.clone());
        services
    }

    fn host_object(&self, key: &Key) -> Option<Arc<HostObject>> {
        self.read(key.clone());
        self.state.host_object(key)
    }

    fn find(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &[(String, String)],
    ) -> Vec<Arc<VirtualObject>> {
        let Some(pair) = self.state.kinds.get(kind) else { return Vec::new() };
        // What comes into being later has to be noticed too, so the whole namespace is remembered as read.
        let any = VirtualName::new(namespace.unwrap_or_default(), "");
        self.read(Key { kind: kind.clone(), name: any });
        let mut names = pair.r#virtual.names();
        names.retain(|(found, _)| namespace.is_none_or(|wanted| wanted == found));
        names.sort();
        let objects = names.iter().filter_map(|(namespace, name)| pair.r#virtual.get(namespace, name));
        objects.filter(|object| object.has_labels(labels)).collect()
    }

    fn shared(&self) -> Arc<dyn Lookup + Send + Sync> {
        Arc::new(self.clone())
    }

    fn is_complete(&self, kind: &Kind) -> bool {
        self.state.kinds.get(kind).is_some_and(|pair| pair.r#virtual.is_synced())
    }
}

/// The Service of the virtual cluster's DNS, by the name that installers give it.
pub(crate) fn dns_service() -> Key {
    Key { kind: Kind::new("v1/Service"), name: VirtualName::new("kube-system", "kube-dns") }
}
