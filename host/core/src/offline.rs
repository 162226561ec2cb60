//! A context made of a list of objects, to translate without any cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::context::{Ctx, Facts, Lookup, Moment, Notes};
use crate::names::Names;
use crate::object::{HostObject, Key, Kind, VirtualName, VirtualObject};

/// What both clusters would show to mappers.
#[derive(Debug, Clone)]
pub struct Offline {
    /// How names are made.
    pub names: Names,
    /// What is true of both clusters.
    pub facts: Facts,
    /// When it is.
    pub now: Moment,
    virtual_objects: BTreeMap<Key, Arc<VirtualObject>>,
    host_objects: BTreeMap<Key, Arc<HostObject>>,
}

impl Offline {
    /// A context without objects.
    pub fn new(names: Names, facts: Facts) -> Self {
        let (virtual_objects, host_objects) = (BTreeMap::new(), BTreeMap::new());
        Self { names, facts, now: Moment::default(), virtual_objects, host_objects }
    }

    /// Adds a virtual object.
    pub fn add(&mut self, object: VirtualObject) {
        self.virtual_objects.insert(key_of(&object), Arc::new(object));
    }

    /// Adds a host object, if it has our identity.
    pub fn add_host(&mut self, object: HostObject) {
        if let Some(identity) = self.names.identity(&object) {
            self.host_objects.insert(identity.key(), Arc::new(object));
        }
    }

    /// The context of a decision about the pair with this host object; notes go to `notes`.
    pub fn ctx<'a>(&'a self, host_object: Option<&'a HostObject>, notes: &'a Notes) -> Ctx<'a> {
        Ctx { names: &self.names, facts: &self.facts, lookup: self, now: &self.now, host_object, notes }
    }

    fn of_kind<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = &'a Arc<VirtualObject>> {
        self.virtual_objects.iter().filter(move |(key, _)| key.kind == *kind).map(|(_, object)| object)
    }
}

impl Lookup for Offline {
    fn object(&self, key: &Key) -> Option<Arc<VirtualObject>> {
        self.virtual_objects.get(key).cloned()
    }

    fn namespace_labels(&self, namespace: &str) -> Arc<BTreeMap<String, String>> {
        let key = Key { kind: Kind::new("v1/Namespace"), name: VirtualName::new("", namespace) };
        Arc::new(self.object(&key).map(|object| object.label_texts()).unwrap_or_default())
    }

    fn host_object(&self, key: &Key) -> Option<Arc<HostObject>> {
        self.host_objects.get(key).cloned()
    }

    fn find(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &[(String, String)],
    ) -> Vec<Arc<VirtualObject>> {
        let found =
            self.of_kind(kind).filter(|object| namespace.is_none_or(|name| object.namespace() == name));
        found.filter(|object| object.has_labels(labels)).cloned().collect()
    }

    fn is_complete(&self, _kind: &Kind) -> bool {
        true
    }

    fn shared(&self) -> Arc<dyn Lookup + Send + Sync> {
        Arc::new(self.clone())
    }
}

/// The key of a virtual object, by its `apiVersion` and `kind`.
pub fn key_of(object: &VirtualObject) -> Key {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = Kind::new(&format!("{}/{}", text("/apiVersion"), text("/kind")));
    Key { kind, name: object.virtual_name() }
}
