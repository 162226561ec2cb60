//! Which virtual pod is on which node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_core::object::Key;

/// The node of each pod, and the number of pods of each node.
#[derive(Default)]
pub(crate) struct Placement {
    nodes: BTreeMap<Key, Arc<str>>,
    pods: BTreeMap<Arc<str>, usize>,
}

impl Placement {
    /// Sets the node that `pod` is on; none when it has none or is gone.
    pub(crate) fn set(&mut self, pod: &Key, node: Option<&str>) {
        if self.nodes.get(pod).map(AsRef::as_ref) == node {
            return;
        }
        if let Some(old) = self.nodes.remove(pod) {
            self.leave(&old);
        }
        if let Some(node) = node {
            // One string a node, however many pods it has.
            let node =
                self.pods.get_key_value(node).map_or_else(|| Arc::from(node), |(known, _)| known.clone());
            *self.pods.entry(node.clone()).or_default() += 1;
            self.nodes.insert(pod.clone(), node);
        }
    }

    /// Whether a pod is on this node.
    pub(crate) fn is_used(&self, node: &str) -> bool {
        self.pods.contains_key(node)
    }

    /// The nodes that pods are on.
    pub(crate) fn nodes(&self) -> Vec<String> {
        self.pods.keys().map(ToString::to_string).collect()
    }

    /// The pods that are on one of these nodes, each with its node.
    pub(crate) fn on(&self, nodes: &BTreeSet<String>) -> Vec<(Key, Arc<str>)> {
        let on = self.nodes.iter().filter(|(_, node)| nodes.contains(&***node));
        on.map(|(pod, node)| (pod.clone(), node.clone())).collect()
    }

    /// The pods on this node: a walk over all pods, for who reads metrics every few seconds.
    pub(crate) fn pods_on(&self, node: &str) -> Vec<Key> {
        let on_node = self.nodes.iter().filter(|(_, found)| found.as_ref() == node);
        on_node.map(|(pod, _)| pod.clone()).collect()
    }

    fn leave(&mut self, node: &Arc<str>) {
        if let Some(pods) = self.pods.get_mut(node) {
            *pods -= 1;
            if *pods == 0 {
                self.pods.remove(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::object::{Kind, VirtualName};

    #[test]
    fn a_node_is_used_until_its_last_pod_goes() {
        let pod = |name: &str| Key { kind: Kind::new("v1/Pod"), name: VirtualName::new("shop", name) };
        let mut placement = Placement::default();
        placement.set(&pod("a"), Some("node-1"));
        placement.set(&pod("a"), Some("node-1"));
        placement.set(&pod("b"), Some("node-1"));
        placement.set(&pod("a"), None);
        assert!(placement.is_used("node-1"));
        assert_eq!(placement.pods_on("node-1"), [pod("b")]);
        placement.set(&pod("b"), Some("node-2"));
        assert_eq!(placement.pods_on("node-1"), []);
        assert_eq!(placement.nodes(), ["node-2"]);
    }
}
