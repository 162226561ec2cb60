//! Which pairs look at which others, both ways.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use weft_core::object::Key;

/// Edges from keys to the keys they look at.
#[derive(Default)]
pub(crate) struct Index {
    edges: Mutex<Edges>,
}

#[derive(Default)]
struct Edges {
    by_source: HashMap<Key, BTreeSet<Key>>,
    by_target: HashMap<Key, BTreeSet<Key>>,
}

impl Index {
    /// Sets what `source` looks at; gives the targets that came or went.
    pub(crate) fn set(&self, source: &Key, targets: BTreeSet<Key>) -> Vec<Key> {
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let old = edges.by_source.remove(source).unwrap_or_default();
        if old == targets {
            if !targets.is_empty() {
                edges.by_source.insert(source.clone(), targets);
            }
            return Vec::new();
        }
        let changed: Vec<Key> = old.symmetric_difference(&targets).cloned().collect();
        for target in old.difference(&targets) {
            edges.disconnect(source, target);
        }
        for target in targets.difference(&old) {
            edges.by_target.entry(target.clone()).or_default().insert(source.clone());
        }
        if !targets.is_empty() {
            edges.by_source.insert(source.clone(), targets);
        }
        changed
    }

    /// The keys that look at `target`.
    pub(crate) fn sources(&self, target: &Key) -> Vec<Key> {
        let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        edges.by_target.get(target).into_iter().flatten().cloned().collect()
    }

    /// Whether any key looks at `target`.
    pub(crate) fn has_sources(&self, target: &Key) -> bool {
        let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        edges.by_target.contains_key(target)
    }
}

impl Edges {
    fn disconnect(&mut self, source: &Key, target: &Key) {
        if let Some(sources) = self.by_target.get_mut(target) {
            sources.remove(source);
            if sources.is_empty() {
                self.by_target.remove(target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::object::{Kind, VirtualName};

    fn key(name: &str) -> Key {
        Key { kind: Kind::new("v1/Secret"), name: VirtualName::new("a", name) }
    }

    #[test]
    fn a_target_is_used_until_its_last_source_lets_go() {
        let index = Index::default();
        assert_eq!(index.set(&key("p1"), [key("s")].into()), [key("s")]);
        index.set(&key("p2"), [key("s")].into());
        index.set(&key("p1"), BTreeSet::new());
        assert_eq!(index.sources(&key("s")), [key("p2")]);
        assert_eq!(index.set(&key("p2"), BTreeSet::new()), [key("s")]);
        assert!(!index.has_sources(&key("s")));
    }
}
