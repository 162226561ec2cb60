//! Fake virtual nodes: one for each host node that runs a pod of ours.
//!
//! They need no permission on the host: their names come from pods' bindings, all else is invented. A node
//! exists before the first pod is bound to it and goes some time after the last one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::{debug, warn};
use weft_core::change::Change;
use weft_core::keys::FAKE_NODE_LABEL;
use weft_core::kinds::pod::status::node_address;
use weft_core::object::VirtualObject;

use crate::api;
use crate::engine::apply::{Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::companions::{Companion, Work};
use crate::engine::resources::nodes;

/// How often nodes are compared with the pods on them. The virtual cluster's own controllers remove the pods
/// of a node that is gone after 40 s.
const SWEEP: Duration = Duration::from_secs(10);

/// Creates and deletes fake nodes.
pub(crate) struct Nodes {
    state: Arc<State>,
    writer: Arc<Writer>,
    /// Held while a node is made: many pods of a burst want the same one.
    making: tokio::sync::Mutex<()>,
}

impl Nodes {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>) -> Self {
        Self { state, writer, making: tokio::sync::Mutex::default() }
    }

    /// Creates the node, if there is none of that name.
    async fn create(&self, name: &str) -> Result<(), api::Error> {
        if self.state.nodes.contains("", name) {
            return Ok(());
        }
        let _making = self.making.lock().await;
        if self.state.nodes.contains("", name) {
            return Ok(());
        }
        let node = VirtualObject::new(node(name, &self.state).as_object().cloned().unwrap_or_default());
        match self.writer.create_virtual(&nodes(), &node).await {
            Ok(created) => self.untaint(created).await,
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the taint that admission puts on every new node until a node controller has initialised it;
    /// none initialises ours.
    async fn untaint(&self, created: Arc<VirtualObject>) -> Result<(), api::Error> {
        let (name, uid) = (created.virtual_name(), created.uid().to_owned());
        let change = Change::merge(json!({"spec": {"taints": null}}));
        let node = self.writer.patch_virtual(&nodes(), &name, &uid, &change).await?;
        self.state.nodes.put(node);
        Ok(())
    }

    /// Deletes nodes that no pod uses and creates those again that somebody deleted, for ever.
    pub(crate) async fn sweep_forever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            if !self.writer.is_open() {
                continue;
            }
            for (_, name) in self.state.nodes.names() {
                log(&name, "failed to remove an unused node", self.remove_unused(&name).await);
            }
            for name in self.state.used_nodes() {
                log(&name, "failed to create a node again", self.create(&name).await);
            }
        }
    }

    async fn remove_unused(&self, name: &str) -> Result<(), api::Error> {
        let Some(node) = self.state.nodes.get("", name) else { return Ok(()) };
        if node.label(FAKE_NODE_LABEL).is_none() || self.state.is_node_used(name) {
            return Ok(());
        }
        debug!(node = %name, "removing a node that no pod uses");
        self.writer.delete_virtual(&nodes(), &node.virtual_name(), node.uid(), 0).await.map(drop)
    }
}

impl Companion for Nodes {
    fn kind(&self) -> &'static str {
        "v1/Pod"
    }

    fn before_bind<'a>(&'a self, node: &'a str) -> Work<'a, ()> {
        Box::pin(async move { self.create(node).await.map_err(Side::Virtual.failed_to("create node", node)) })
    }
}

fn log(node: &str, what: &str, result: Result<(), api::Error>) {
    if let Err(error) = result {
        warn!(%node, error = &error as &dyn std::error::Error, "{what}");
    }
}

fn node(name: &str, state: &State) -> Value {
    let version = state.facts().virtual_version;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "this node is made up; see the host cluster",
               "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    // Large enough that nothing in the virtual cluster counts on it: the host decides what fits.
    let room = json!({"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "16Ti", "pods": "100000"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            FAKE_NODE_LABEL: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch(),
        }},
        "status": {
            "capacity": room, "allocatable": room,
            "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": node_address(name).to_string()}],
            "conditions": [
                condition("Ready", "True", "KubeletReady"),
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            ],
            "nodeInfo": {
                "architecture": arch(), "bootID": "", "containerRuntimeVersion": "weft://", "kernelVersion": "", "kubeProxyVersion": "",
                "kubeletVersion": format!("v{}.{}.0", version.major, version.minor), "machineID": "",
                "operatingSystem": "linux", "osImage": "weft", "systemUUID": "",
            },
        },
    })
}

/// The architecture's name as Kubernetes writes it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::api::scripted::Answer;
    use crate::engine::testing::{Bench, echo};

    #[tokio::test]
    async fn a_node_is_created_once_and_loses_its_taint() {
        let bench = Bench::echoing();
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone());
        nodes.before_bind("node-1").await.unwrap();
        nodes.before_bind("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes", "PATCH /api/v1/nodes/node-1"]);
        let patches = bench.virtual_requests.bodies(&http::Method::PATCH);
        assert_eq!(patches[0]["spec"], json!({"taints": null}));
        assert!(bench.state.nodes.contains("", "node-1"));
        assert!(bench.host_requests.all().is_empty(), "the host is never asked about nodes");
    }

    #[tokio::test]
    async fn a_node_that_somebody_else_has_created_is_taken_as_it_is() {
        let bench = Bench::new(echo, |_| Answer::failure(409, "AlreadyExists"));
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone());
        nodes.before_bind("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes"]);
    }

    #[tokio::test]
    async fn only_an_unused_node_of_ours_is_deleted() {
        let bench = Bench::echoing();
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone());
        let node = |name: &str, labels: Value| {
            let metadata = json!({"name": name, "uid": name, "resourceVersion": "1", "labels": labels});
            bench.state.nodes.put(Arc::new(VirtualObject::from_json(json!({"metadata": metadata})).unwrap()));
        };
        node("ours", json!({FAKE_NODE_LABEL: "true"}));
        node("theirs", json!({}));
        nodes.remove_unused("ours").await.unwrap();
        nodes.remove_unused("theirs").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["DELETE /api/v1/nodes/ours"]);
        assert_eq!(bench.virtual_requests.all()[0].body["preconditions"]["uid"], "ours");
    }
}
