//! What is known of the host's nodes, where they are mirrored, and which virtual nodes are to be compared with them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use weft_core::nodes::requests::{self, Amounts};
use weft_core::object::Host;

use crate::engine::cache::changed::Changed;
use crate::engine::cache::store::Store;

/// The host's nodes and what pods of others request on them. Empty where nodes are made up.
#[derive(Default)]
pub(crate) struct HostNodes {
    /// Those that are selected.
    pub(crate) nodes: Arc<Store<Host>>,
    /// Which pods the whole host has, without their content.
    pub(crate) pods: Arc<Store<Host>>,
    load: Mutex<Load>,
    /// Virtual nodes that may not be as they should.
    changed: Mutex<BTreeSet<String>>,
    wake: Notify,
}

/// What each pod of others requests, and the sum on each node.
#[derive(Default)]
struct Load {
    pods: HashMap<(String, String), (String, Amounts)>,
    nodes: HashMap<String, Amounts>,
}

impl HostNodes {
    /// A pod of the host has changed, which is of others or not.
    pub(crate) fn pod_changed(&self, changed: &Changed<Host>, is_of_others: bool) {
        let pod = (changed.namespace.clone(), changed.name.clone());
        self.pods.forget_content(&pod.0, &pod.1);
        let place = changed.object.as_ref().filter(|_| is_of_others).and_then(|pod| {
            let node = pod.text("/spec/nodeName").filter(|node| !node.is_empty())?;
            Some((node.to_owned(), requests::of(pod)))
        });
        lock(&self.load).set(pod, place);
    }

    /// What pods of others request on a node; nothing while that is not known of all pods.
    pub(crate) fn requested_on(&self, node: &str) -> Amounts {
        if !self.pods.is_synced() {
            return Amounts::new();
        }
        lock(&self.load).nodes.get(node).cloned().unwrap_or_default()
    }

    /// Has the virtual node of this name be compared with what it should be.
    pub(crate) fn compare(&self, name: &str) {
        lock(&self.changed).insert(name.to_owned());
        self.wake.notify_one();
    }

    /// Waits for names that were given to [`Self::compare`]. One task at a time can wait.
    pub(crate) async fn changed(&self) -> BTreeSet<String> {
        self.wake.notified().await;
        std::mem::take(&mut *lock(&self.changed))
    }
}

impl Load {
    /// Sets on which node a pod is, and what it requests there; none when it has no place or is gone.
    fn set(&mut self, pod: (String, String), place: Option<(String, Amounts)>) {
        if let Some((node, amounts)) = self.pods.remove(&pod)
            && let Some(sum) = self.nodes.get_mut(&node)
        {
            requests::subtract(sum, &amounts);
            if sum.is_empty() {
                self.nodes.remove(&node);
            }
        }
        if let Some((node, amounts)) = place.filter(|(_, amounts)| !amounts.is_empty()) {
            requests::add(self.nodes.entry(node.clone()).or_default(), &amounts);
            self.pods.insert(pod, (node, amounts));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use weft_core::object::HostObject;

    use super::*;

    const CORE: i128 = 1_000_000_000;

    fn pod(name: &str, node: &str, cpu: &str, phase: &str) -> Changed<Host> {
        let containers = json!([{"resources": {"requests": {"cpu": cpu}}}]);
        let spec = json!({"nodeName": node, "containers": containers});
        let pod: Value =
            json!({"metadata": {"namespace": "b", "name": name}, "spec": spec, "status": {"phase": phase}});
        Changed::new(Arc::new(HostObject::from_json(pod).unwrap()))
    }

    fn gone(name: &str) -> Changed<Host> {
        Changed { namespace: "b".to_owned(), name: name.to_owned(), object: None, last: None }
    }

    fn cpu(nodes: &HostNodes, node: &str) -> Option<i128> {
        nodes.requested_on(node).get("cpu").copied()
    }

    #[test]
    fn what_pods_of_others_request_counts_on_their_node_until_they_end_or_go() {
        let nodes = HostNodes::default();
        nodes.pod_changed(&pod("a", "node-1", "1", "Running"), true);
        assert_eq!(cpu(&nodes, "node-1"), None, "other pods may not be known yet");
        nodes.pods.set_synced();
        for name in ["b", "b", "c"] {
            nodes.pod_changed(&pod(name, "node-1", "2", "Running"), true);
        }
        nodes.pod_changed(&pod("ours", "node-1", "4", "Running"), false);
        nodes.pod_changed(&pod("unscheduled", "", "4", "Pending"), true);
        assert_eq!((cpu(&nodes, "node-1"), cpu(&nodes, "node-2")), (Some(5 * CORE), None));
        nodes.pod_changed(&pod("b", "node-1", "3", "Running"), true);
        assert_eq!(cpu(&nodes, "node-1"), Some(6 * CORE), "it was resized");
        nodes.pod_changed(&pod("c", "node-1", "2", "Succeeded"), true);
        nodes.pod_changed(&gone("b"), true);
        assert_eq!(cpu(&nodes, "node-1"), Some(CORE));
        nodes.pod_changed(&gone("a"), true);
        let load = lock(&nodes.load);
        assert!(load.pods.is_empty() && load.nodes.is_empty(), "nothing piles up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_comes_out_once_however_often_it_was_given() {
        let nodes = HostNodes::default();
        for name in ["b", "a", "b"] {
            nodes.compare(name);
        }
        assert_eq!(nodes.changed().await, ["a", "b"].map(str::to_owned).into());
        nodes.compare("c");
        assert_eq!(nodes.changed().await, ["c".to_owned()].into());
    }
}
