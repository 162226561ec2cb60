//! The objects of the model, with one revision for all and a log of what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::kinds::Kind;
use super::object::{metadata, text};

/// Where a new server's count is: a real one has written and compacted a few objects by the time it serves.
const FIRST: u64 = 100;

/// Where an object is. Objects of a kind are in the order of their paths, as in etcd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    group: &'static str,
    plural: &'static str,
    /// `namespace/name`, or the name.
    pub(super) path: String,
}

/// One change of one object.
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) key: Key,
    pub(super) old: Option<Arc<Value>>,
    pub(super) new: Option<Arc<Value>>,
}

/// The objects, and how they came to be.
pub(super) struct Storage {
    revision: u64,
    compacted: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    log: Vec<Change>,
    /// The copy that was made last.
    snapshot: (u64, BTreeMap<Key, Arc<Value>>),
    /// UIDs and versions of what was lost. No object gets the same version a second time: no cache could tell its states apart, and
    /// restores of etcd have `--bump-revision` against that.
    lost: BTreeSet<(String, u64)>,
}

impl Key {
    pub(super) fn new(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        let path = if kind.is_namespaced { format!("{namespace}/{name}") } else { name.to_owned() };
        Self { group: kind.group, plural: kind.plural, path }
    }

    /// Whether it is of the kind, and in the namespace if one is named.
    pub(super) fn is_in(&self, kind: &Kind, namespace: &str) -> bool {
        let is_there = namespace.is_empty()
            || self.path.split_once('/').is_some_and(|(its_namespace, _)| its_namespace == namespace);
        self.group == kind.group && self.plural == kind.plural && is_there
    }
}

impl Storage {
    pub(super) fn new() -> Self {
        let snapshot = (FIRST, BTreeMap::new());
        let (objects, log, lost) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { revision: FIRST, compacted: FIRST, objects, log, snapshot, lost }
    }

    /// The revision of the last write.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Forgets the past.
    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.clear();
    }

    /// Keeps a copy of everything.
    pub(super) fn keep(&mut self) {
        self.snapshot = (self.revision, self.objects.clone());
    }

    /// Has what the copy has, and no memory of what came after it.
    pub(super) fn go_back(&mut self) {
        let written = self.log.iter().filter_map(|change| change.new.as_ref());
        for object in written.chain(self.objects.values()) {
            let version = text(object, "/metadata/resourceVersion").parse().unwrap_or_default();
            self.lost.insert((text(object, "/metadata/uid").to_owned(), version));
        }
        (self.revision, self.objects) = self.snapshot.clone();
        self.compact();
    }

    /// Whether what was at a revision is forgotten.
    pub(super) fn has_forgotten(&self, revision: u64) -> bool {
        revision < self.compacted
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The objects of a kind, in one namespace or everywhere.
    pub(super) fn all(&self, kind: &Kind, namespace: &str) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        let path = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let first = Key { group: kind.group, plural: kind.plural, path };
        self.objects.range(first..).take_while(move |(key, _)| key.is_in(kind, namespace))
    }

    /// Whether the namespace has objects of any kind.
    pub(super) fn has_objects_in(&self, namespace: &str) -> bool {
        self.objects.values().any(|object| text(object, "/metadata/namespace") == namespace)
    }

    /// The objects of a kind as they were at a revision.
    pub(super) fn at(&self, revision: u64, kind: &Kind, namespace: &str) -> BTreeMap<Key, Arc<Value>> {
        let now = self.all(kind, namespace);
        let mut then: BTreeMap<_, _> = now.map(|(key, object)| (key.clone(), object.clone())).collect();
        let since = self.log.iter().rev().take_while(|change| change.revision > revision);
        for change in since.filter(|change| change.key.is_in(kind, namespace)) {
            match &change.old {
                Some(old) => drop(then.insert(change.key.clone(), old.clone())),
                None => drop(then.remove(&change.key)),
            }
        }
        then
    }

    /// What has changed since a revision.
    pub(super) fn since(&self, revision: u64) -> impl Iterator<Item = &Change> {
        let start = self.log.partition_point(|change| change.revision <= revision);
        self.log.iter().skip(start)
    }

    /// Writes an object under the next revision, which it gets.
    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        let uid = text(&object, "/metadata/uid").to_owned();
        while !self.lost.is_empty() && self.lost.contains(&(uid.clone(), self.revision)) {
            self.revision += 1;
        }
        metadata(&mut object).insert("resourceVersion".into(), self.revision.to_string().into());
        let object = Arc::new(object);
        let old = self.objects.insert(key.clone(), object.clone());
        self.log.push(Change { revision: self.revision, key, old, new: Some(object.clone()) });
        object
    }

    /// Removes an object under the next revision; returns it as it was, with the revision of its removal.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Value> {
        let old = self.objects.remove(key)?;
        self.revision += 1;
        let mut last = Value::clone(&old);
        metadata(&mut last).insert("resourceVersion".into(), self.revision.to_string().into());
        self.log.push(Change { revision: self.revision, key: key.clone(), old: Some(old), new: None });
        Some(last)
    }
}
