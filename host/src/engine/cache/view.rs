//! What one decision reads beside its own pair, remembered so that a change there asks for another look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use weft_core::context::{Lookup, ServiceFact};
use weft_core::object::{HostObject, Key, Kind, VirtualObject};

use crate::engine::cache::index::any;
use crate::engine::cache::kinds::Kinds;
use crate::engine::cache::state::State;

/// Reads for the decision about one key. Clones remember together.
#[derive(Clone)]
pub(crate) struct View {
    state: Arc<State>,
    kinds: Arc<Kinds>,
    /// Whose decision it is, if changes may come in while it is made.
    reader: Option<Key>,
    reads: Arc<Mutex<BTreeSet<Key>>>,
}

impl View {
    /// Reads for a decision that is made while nothing else happens.
    pub(crate) fn new(state: Arc<State>, kinds: Arc<Kinds>) -> Self {
        Self { state, kinds, reader: None, reads: Arc::default() }
    }

    /// Reads for the decision about `reader`, while changes come in: what is read is noted before it is read.
    pub(crate) fn beside_changes(state: Arc<State>, kinds: Arc<Kinds>, reader: Key) -> Self {
        Self { reader: Some(reader), ..Self::new(state, kinds) }
    }

    /// What was read.
    pub(crate) fn into_reads(self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.reads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers a read.
    pub(crate) fn note(&self, read: Key) {
        if let Some(reader) = &self.reader {
            self.state.add_read(reader, &read);
        }
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).insert(read);
    }
}

impl Lookup for View {
    fn object(&self, key: &Key) -> Option<Arc<VirtualObject>> {
        self.note(key.clone());
        self.kinds.virtual_store(&key.kind)?.get(&key.name.namespace, &key.name.name)
    }

    fn namespace_labels(&self, namespace: &str) -> Arc<BTreeMap<String, String>> {
        // Not a remembered read: a change of labels looks at the namespace's pods by itself.
        let object = self.state.namespaces.get("", namespace);
        Arc::new(object.map(|object| object.label_texts()).unwrap_or_default())
    }

    fn services(&self, namespace: &str) -> Arc<[ServiceFact]> {
        let mut cache = self.state.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(services) = cache.get(namespace) {
            return services.clone();
        }
        let mut found = Vec::new();
        if let Some(synced) = self.kinds.synced(&Kind::new("v1/Service")) {
            synced.r#virtual.each(namespace, &mut |service| found.extend(ServiceFact::of(service)));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let services: Arc<[ServiceFact]> = found.into();
        cache.insert(namespace.to_owned(), services.clone());
        services
    }

    fn host_object(&self, key: &Key) -> Option<Arc<HostObject>> {
        self.note(key.clone());
        self.state.host_object(self.kinds.synced(&key.kind)?, key)
    }

    fn find(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &[(String, String)],
    ) -> Vec<Arc<VirtualObject>> {
        // What comes into being later has to be noticed too, so the whole namespace is remembered as read.
        self.note(any(kind, namespace.unwrap_or_default()));
        let Some(store) = self.kinds.virtual_store(kind) else { return Vec::new() };
        let mut found = Vec::new();
        store.each(namespace.unwrap_or_default(), &mut |object| {
            if object.has_labels(labels) {
                found.push(Arc::clone(object));
            }
        });
        found.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        found
    }

    fn shared(&self) -> Arc<dyn Lookup + Send + Sync> {
        Arc::new(self.clone())
    }

    fn is_complete(&self, kind: &Kind) -> bool {
        let is_synced = || self.kinds.virtual_store(kind).is_some_and(|store| store.is_synced());
        if is_synced() {
            return true;
        }
        self.note(any(kind, ""));
        is_synced()
    }
}
