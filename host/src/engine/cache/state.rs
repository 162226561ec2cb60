//! What the parts of the engine share: the stores of every kind, who looks at whom, and the facts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use weft_core::context::{Facts, ServiceFact, cluster_ips};
use weft_core::mapper::Mapper;
use weft_core::names::Names;
use weft_core::object::{Host, HostObject, Key, Kind, Virtual, VirtualName, VirtualObject};
use weft_core::spec::Life;

use crate::engine::cache::changed::Changed;
use crate::engine::cache::index::Index;
use crate::engine::cache::index::any;
use crate::engine::cache::kinds::{Kinds, SyncedKind};
use crate::engine::cache::placement::Placement;
use crate::engine::cache::store::{Change, Store};
use crate::engine::queue::Queue;

/// Everything that is known, in one place.
pub(crate) struct State {
    pub(crate) names: Names,
    kinds: RwLock<Arc<Kinds>>,
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
    pub(crate) services: Mutex<HashMap<String, Arc<[ServiceFact]>>>,
}

impl State {
    pub(crate) fn new(names: Names, facts: Facts) -> Self {
        Self {
            names,
            kinds: RwLock::default(),
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

    /// Every kind there is now.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The stores and rules of a kind as they are now.
    pub(crate) fn synced(&self, kind: &Kind) -> Option<Arc<SyncedKind>> {
        self.kinds.read().unwrap_or_else(PoisonError::into_inner).synced(kind).cloned()
    }

    /// Puts another picture of the kinds in the place of the one there is.
    pub(crate) fn set_kinds(&self, kinds: Kinds) {
        *self.kinds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kinds);
    }

    /// Forgets what is known of the keys of a kind that is synced no more.
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

    /// Notes one read before it is done: what changes meanwhile asks for another look.
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

    /// The host object of `key`, if there is one and it is ours.
    pub(crate) fn host_object(&self, synced: &SyncedKind, key: &Key) -> Option<Arc<HostObject>> {
        let object = synced.host.get(self.names.namespace(), self.names.host_name(&key.name).as_str())?;
        self.key_of(&object, &key.kind).filter(|found| found == key).map(|_| object)
    }

    /// The pair that a host object of this kind belongs to, if it is ours.
    pub(crate) fn key_of(&self, object: &HostObject, kind: &Kind) -> Option<Key> {
        let identity = self.names.identity(object)?;
        (identity.kind == kind.as_str()).then(|| identity.key())
    }

    /// Takes note of a change of a virtual object of one of the synced kinds.
    pub(crate) fn virtual_changed(&self, kind: &Kind, changed: &Changed<Virtual>) {
        let Some(synced) = self.synced(kind) else { return };
        let key = key_of(kind, changed);
        if kind.as_str() == "v1/Pod" {
            self.pod_placed(&key, changed);
        }
        // Before the object itself: a pod finds its ConfigMaps there.
        self.set_targets(&key, &*synced.mapper, changed.object.as_deref());
        self.noticed(key);
    }

    /// Takes note of a change of a virtual object of a kind that is only looked up.
    pub(crate) fn looked_up_changed(&self, kind: &Kind, changed: &Changed<Virtual>) {
        self.look_again(&key_of(kind, changed));
    }

    /// Takes note that a first complete list of a kind is in.
    pub(crate) fn listed(&self, kind: &Kind) {
        if let Some(synced) = self.synced(kind) {
            synced.take_early().into_iter().for_each(|key| self.queue.add(key));
        }
        self.look_again(&any(kind, ""));
    }

    /// Looks at a virtual object as if it were new: its rules are.
    pub(crate) fn rules_changed(&self, key: Key, mapper: &dyn Mapper, object: &VirtualObject) {
        self.set_targets(&key, mapper, Some(object));
        self.queue.add(key);
    }

    /// Sets what the object of `key` names; looks at what it did not name before, or names no more.
    fn set_targets(&self, key: &Key, mapper: &dyn Mapper, object: Option<&VirtualObject>) {
        let targets = object.map(|object| mapper.targets(object)).unwrap_or_default();
        self.uses.set(key, targets).into_iter().for_each(|target| self.queue.add(target));
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
        let Some(synced) = self.synced(kind) else { return };
        if synced.host.put(object.clone()) == Change::Stored
            && let Some(key) = self.key_of(object, kind)
        {
            self.answered(&synced, key);
        }
    }

    /// Takes in the virtual API server's answer to a write of ours, as if the watch had shown it.
    pub(crate) fn virtual_answered(&self, kind: &Kind, object: &Arc<VirtualObject>) {
        let Some(synced) = self.synced(kind) else { return };
        if synced.r#virtual.put(object.clone()) == Change::Stored {
            self.answered(&synced, Key { kind: kind.clone(), name: object.virtual_name() });
        }
    }

    fn answered(&self, synced: &SyncedKind, key: Key) {
        self.service_changed(&key);
        self.look_again(&key);
        // What the host chose in its answer, such as an address, is to flow back. A pod's answers hold
        // nothing of the kind: what happens to it comes by the watch.
        if synced.mapper.spec().policy.life == Life::Data {
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
        let Some(synced) = self.synced(&kind) else { return };
        for (_, name) in synced.r#virtual.names().into_iter().filter(|(found, _)| found == namespace) {
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
        let Some(synced) = self.synced(&key.kind) else { return Vec::new() };
        let source = synced.r#virtual.get(&key.name.namespace, &key.name.name);
        let ours = source.map(|object| cluster_ips(&object)).unwrap_or_default();
        let hosts = self.host_object(&synced, key).map(|object| cluster_ips(&object)).unwrap_or_default();
        if ours == hosts { ours } else { Vec::new() }
    }
}

/// The Service of the virtual cluster's DNS, by the name that installers give it.
pub(crate) fn dns_service() -> Key {
    Key { kind: Kind::new("v1/Service"), name: VirtualName::new("kube-system", "kube-dns") }
}

fn key_of(kind: &Kind, changed: &Changed<Virtual>) -> Key {
    let name = VirtualName::new(changed.namespace.as_str(), changed.name.as_str());
    Key { kind: kind.clone(), name }
}
