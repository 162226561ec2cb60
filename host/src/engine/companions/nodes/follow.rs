//! Keeps the nodes of ours that somebody needs: those of pods, and those that the host has where they are mirrored.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};
use weft_core::keys::{FAKE_NODE_LABEL, MIRRORED_LABEL};

use super::Nodes;
use crate::api;
use crate::engine::cache::state::is_our_node;
use crate::engine::resources::nodes;

/// Between two times that the spec of nodes is brought back: whoever changes it again and again does not make us do more.
pub(super) const RESTORED: Duration = Duration::from_secs(1);
/// How often nodes are compared with the pods on them. The virtual cluster's own controllers remove the pods
/// of a node that is gone after 40 s.
pub(super) const SWEEP: Duration = Duration::from_secs(10);

impl Nodes {
    /// Deletes nodes that nobody needs, and creates or completes those again that somebody does, for ever.
    pub(crate) async fn sweep_forever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            if !self.writer.is_open() {
                continue;
            }
            for (_, name) in self.state.nodes.names() {
                log(&name, "failed to remove an unused node", self.remove_unused(&name).await);
            }
            let mirrored = self.state.host_nodes.nodes.names().into_iter().map(|(_, name)| name);
            for name in self.state.used_nodes().into_iter().chain(mirrored) {
                log(&name, "failed to create or complete a node", self.ensure_node(&name).await);
            }
        }
    }

    /// Has nodes follow the host's, and brings back what somebody has changed of ours, for ever.
    pub(crate) async fn follow_forever(self: Arc<Self>) {
        loop {
            let names = self.state.host_nodes.changed().await;
            while !self.writer.is_open() {
                tokio::time::sleep(RESTORED).await;
            }
            for name in names {
                // A made-up node that no pod uses may be about to get its first one: it is left to the sweep.
                let known = self.state.nodes.get("", &name);
                let is_made_up = known.is_some_and(|node| node.label(FAKE_NODE_LABEL).is_some());
                let result = if is_made_up || self.is_wanted(&name) {
                    self.ensure_node(&name).await
                } else {
                    self.remove_unused(&name).await
                };
                log(&name, "failed to bring a node to what it should be", result);
            }
            tokio::time::sleep(RESTORED).await;
        }
    }

    /// Whether the host has such a node that is selected, or a pod is on it.
    fn is_wanted(&self, name: &str) -> bool {
        self.state.host_nodes.nodes.contains("", name)
            || (self.state.nodes.contains("", name) && self.state.is_node_used(name))
    }

    pub(super) async fn remove_unused(&self, name: &str) -> Result<(), api::Error> {
        let Some(node) = self.state.nodes.get("", name) else { return Ok(()) };
        // One that mirrors a node of the host is missed only by a complete list.
        let may_be_there =
            self.mirrors && node.label(MIRRORED_LABEL).is_some() && !self.state.host_nodes.nodes.is_synced();
        if !is_our_node(&node) || may_be_there || self.is_wanted(name) {
            return Ok(());
        }
        debug!(node = %name, "removing a node that no pod uses");
        self.writer.delete_virtual(&nodes(), &node.virtual_name(), node.uid(), 0).await.map(drop)
    }
}

fn log(node: &str, what: &str, result: Result<(), api::Error>) {
    if let Err(error) = result {
        warn!(%node, error = &error as &dyn std::error::Error, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use serde_json::{Value, json};
    use weft_core::nodes::patch::NOT_READY;
    use weft_core::object::{HostObject, VirtualObject};

    use super::super::tests::{ours, seen, taints};
    use crate::engine::cache::changed::Changed;
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::testing::Bench;

    /// A node of the host with so many cores, as the watch shows it.
    fn host_node(bench: &Bench, version: &str, cpu: &str) {
        let metadata = json!({"name": "node-1", "uid": "h", "resourceVersion": version});
        let status = json!({"capacity": {"cpu": cpu}, "allocatable": {"cpu": cpu}});
        let node = HostObject::from_json(json!({"metadata": metadata, "status": status})).unwrap();
        bench.state.host_nodes.nodes.put(Arc::new(node));
        bench.state.host_nodes.compare("node-1");
    }

    /// The host has the node no longer.
    fn host_node_gone(bench: &Bench) {
        let (nodes, version) = (&bench.state.host_nodes.nodes, ResourceVersion::new("9"));
        nodes.remove("", "node-1", version, Absence::Deleted);
        bench.state.host_nodes.compare("node-1");
    }

    /// Follows the nodes of the host.
    fn mirroring(bench: &Bench) -> tokio::task::JoinHandle<()> {
        bench.state.host_nodes.nodes.set_synced();
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None, true, bench.recorder());
        tokio::spawn(Arc::new(nodes).follow_forever())
    }

    async fn followed() {
        tokio::time::sleep(RESTORED * 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_mirrored_node_comes_changes_and_goes_with_its_host_node() {
        let bench = Bench::echoing();
        let following = mirroring(&bench);
        host_node(&bench, "1", "4");
        followed().await;
        let created = bench.virtual_requests.bodies(&Method::POST);
        assert_eq!(created[0]["metadata"]["labels"][MIRRORED_LABEL], "true");
        assert_eq!(created[0]["status"]["allocatable"]["cpu"], "4");
        host_node(&bench, "2", "8");
        followed().await;
        let patches = bench.virtual_requests.bodies(&Method::PATCH);
        assert_eq!(patches[0]["status"]["allocatable"], json!({"cpu": "8"}), "{patches:?}");
        // An echo has of a patched node only what was patched.
        seen(&bench, "node-1", &json!({MIRRORED_LABEL: "true"}), &[]);
        host_node_gone(&bench);
        followed().await;
        assert_eq!(bench.virtual_requests.lines().last().unwrap(), "DELETE /api/v1/nodes/node-1");
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_of_the_tenants_own_is_left_alone_whatever_the_host_has() {
        let bench = Bench::echoing();
        let following = mirroring(&bench);
        seen(&bench, "node-1", &json!({}), &["mine"]);
        host_node(&bench, "1", "4");
        followed().await;
        host_node_gone(&bench);
        followed().await;
        assert_eq!(bench.virtual_requests.lines(), Vec::<String>::new());
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_mirrored_node_stays_while_a_pod_is_on_it_or_the_hosts_nodes_are_not_known() {
        let bench = Bench::echoing();
        seen(&bench, "node-1", &json!({MIRRORED_LABEL: "true"}), &[]);
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None, true, bench.recorder());
        nodes.remove_unused("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), Vec::<String>::new(), "the list is not complete");
        bench.state.host_nodes.nodes.set_synced();
        let mut pod = crate::engine::testing::pod();
        pod["spec"]["nodeName"] = "node-1".into();
        bench.watch_virtual("v1/Pod", pod);
        nodes.remove_unused("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), Vec::<String>::new(), "its pods are the host's to judge");
    }

    #[tokio::test(start_paused = true)]
    async fn a_made_up_node_becomes_the_mirrored_one_once_the_host_shows_it() {
        let bench = Bench::echoing();
        let following = mirroring(&bench);
        seen(&bench, "node-1", &ours(), &[NOT_READY]);
        host_node(&bench, "1", "4");
        followed().await;
        let patch = &bench.virtual_requests.bodies(&Method::PATCH)[0];
        let labels = json!({FAKE_NODE_LABEL: null, MIRRORED_LABEL: "true"});
        assert_eq!(patch["metadata"]["labels"], labels);
        assert_eq!(patch["spec"]["taints"], json!([]));
        assert_eq!(bench.reasons().await, Vec::<String>::new());
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_mirrored_node_that_the_tenant_taints_is_brought_back_with_an_event_and_one_that_the_host_taints_is_not()
     {
        let bench = Bench::echoing();
        let following = mirroring(&bench);
        host_node(&bench, "1", "4");
        followed().await;
        let created = bench.virtual_requests.bodies(&Method::POST).remove(0);
        let show = |version: &str, spec: &Value| {
            let mut node = created.clone();
            node["metadata"]["uid"] = "v".into();
            node["metadata"]["resourceVersion"] = version.into();
            node["spec"] = spec.clone();
            let node = Arc::new(VirtualObject::from_json(node).unwrap());
            bench.state.nodes.put(node.clone());
            bench.state.node_changed(&Changed::new(node));
        };
        show("900", &json!({"taints": taints(&[NOT_READY])}));
        followed().await;
        assert_eq!(bench.reasons().await, Vec::<String>::new(), "admission put it there");
        show("901", &json!({"unschedulable": true, "taints": taints(&["mine"])}));
        followed().await;
        let patches = bench.virtual_requests.bodies(&Method::PATCH);
        let spec = json!({"taints": [], "unschedulable": null});
        assert!(patches.len() >= 2 && patches.iter().all(|patch| patch["spec"] == spec), "{patches:?}");
        let events = bench.events().await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0]["message"].as_str().unwrap().contains("host's node again"), "{events:?}");
        following.abort();
    }
}
