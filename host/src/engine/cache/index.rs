//! Which keys refer to which others, both ways.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use weft_core::object::{Key, Kind, VirtualName};

/// Edges from keys to the keys they refer to.
#[derive(Default)]
pub(crate) struct Index {
    edges: Mutex<Edges>,
}

#[derive(Default)]
struct Edges {
    by_source: HashMap<Key, BTreeSet<Key>>,
    by_target: HashMap<Key, BTreeSet<Key>>,
    /// Targets without a name: each stands for every object of its kind and namespace.
    wildcards: usize,
}

impl Index {
    /// Sets what `source` refers to; returns the targets that are new and those that are no longer among them.
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
            edges.connect(source, target);
        }
        if !targets.is_empty() {
            edges.by_source.insert(source.clone(), targets);
        }
        changed
    }

    /// Adds `target` to what `source` refers to.
    pub(crate) fn add(&self, source: &Key, target: &Key) {
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        if edges.by_source.entry(source.clone()).or_default().insert(target.clone()) {
            edges.connect(source, target);
        }
    }

    /// The keys that refer to `target`, be it by name or with all of its kind.
    pub(crate) fn sources(&self, target: &Key) -> Vec<Key> {
        let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |target: &Key| edges.by_target.get(target).into_iter().flatten().cloned();
        let mut sources: Vec<Key> = of(target).collect();
        if edges.wildcards > 0 && !target.name.name.is_empty() {
            sources.extend(of(&any(&target.kind, &target.name.namespace)));
            if !target.name.namespace.is_empty() {
                sources.extend(of(&any(&target.kind, "")));
            }
        }
        sources
    }

    /// Forgets what the keys of a kind refer to; returns the targets that nobody refers to any more.
    pub(crate) fn forget(&self, kind: &Kind) -> Vec<Key> {
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<(Key, BTreeSet<Key>)> =
            edges.by_source.extract_if(|source, _| source.kind == *kind).collect();
        for (source, targets) in &gone {
            for target in targets {
                edges.disconnect(source, target);
            }
        }
        let targets: BTreeSet<Key> = gone.into_iter().flat_map(|(_, targets)| targets).collect();
        targets.into_iter().filter(|target| !edges.by_target.contains_key(target)).collect()
    }

    /// Whether any key refers to `target`.
    pub(crate) fn has_sources(&self, target: &Key) -> bool {
        let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        edges.by_target.contains_key(target)
    }
}

impl Edges {
    fn connect(&mut self, source: &Key, target: &Key) {
        let sources = self.by_target.entry(target.clone()).or_default();
        if sources.is_empty() {
            self.wildcards += usize::from(target.name.name.is_empty());
        }
        sources.insert(source.clone());
    }

    fn disconnect(&mut self, source: &Key, target: &Key) {
        if let Some(sources) = self.by_target.get_mut(target) {
            sources.remove(source);
            if sources.is_empty() {
                self.by_target.remove(target);
                self.wildcards -= usize::from(target.name.name.is_empty());
            }
        }
    }
}

/// Stands for every object of a kind in one virtual namespace, or in all for an empty one.
pub(crate) fn any(kind: &Kind, namespace: &str) -> Key {
    Key { kind: kind.clone(), name: VirtualName::new(namespace, "") }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn who_refers_to_all_of_a_kind_refers_to_each() {
        let index = Index::default();
        let kind = Kind::new("v1/Secret");
        index.set(&key("everywhere"), [any(&kind, "")].into());
        index.set(&key("here"), [any(&kind, "a")].into());
        index.set(&key("elsewhere"), [any(&kind, "b")].into());
        index.add(&key("one"), &key("s"));
        assert_eq!(index.sources(&key("s")), [key("one"), key("here"), key("everywhere")]);
        assert_eq!(index.sources(&any(&kind, "")), [key("everywhere")]);
        index.set(&key("everywhere"), BTreeSet::new());
        assert_eq!(index.sources(&key("t")), [key("here")]);
    }

    #[test]
    fn the_same_targets_again_change_nothing() {
        let index = Index::default();
        index.set(&key("p"), [key("a"), key("b")].into());
        assert_eq!(index.set(&key("p"), [key("b"), key("a")].into()), []);
        assert_eq!(index.set(&key("p"), [key("b"), key("c")].into()), [key("a"), key("c")]);
        assert_eq!(index.sources(&key("b")), [key("p")], "what stays has to stay in both directions");
    }

    #[test]
    fn an_added_target_is_one_of_those_that_the_next_set_replaces() {
        let index = Index::default();
        index.add(&key("p"), &key("a"));
        index.add(&key("p"), &key("a"));
        assert_eq!(index.sources(&key("a")), [key("p")]);
        assert_eq!(index.set(&key("p"), BTreeSet::new()), [key("a")]);
        assert!(!index.has_sources(&key("a")));
    }

    #[test]
    fn a_wildcard_is_no_source_of_other_kinds_and_namespaces() {
        let index = Index::default();
        index.set(&key("p"), [any(&Kind::new("v1/Secret"), "a")].into());
        let elsewhere = Key { name: VirtualName::new("b", "s"), ..key("s") };
        let other_kind = Key { kind: Kind::new("v1/Pod"), ..key("s") };
        assert_eq!([index.sources(&elsewhere), index.sources(&other_kind)], [vec![], vec![]]);
        assert!(!index.has_sources(&key("s")), "a wildcard uses nothing by name");
    }

    #[test]
    fn a_forgotten_kind_lets_go_of_everything() {
        let index = Index::default();
        let pod = Key { kind: Kind::new("v1/Pod"), ..key("p") };
        index.set(&pod, [key("only"), key("shared")].into());
        index.set(&key("other"), [key("shared")].into());
        assert_eq!(index.forget(&Kind::new("v1/Pod")), [key("only")]);
        assert!(!index.has_sources(&key("only")));
        assert_eq!(index.sources(&key("shared")), [key("other")]);
    }
}
