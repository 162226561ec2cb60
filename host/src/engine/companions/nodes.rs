//! Fake virtual nodes: one for each host node that runs a pod of ours.
//!
//! They need no permission on the host: their names come from pods' bindings, all else is invented. A node
//! exists before the first pod is bound to it and goes some time after the last one.

mod composed;
mod creations;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};
use weft_core::keys::FAKE_NODE_LABEL;
use weft_core::object::VirtualObject;

use crate::api;
use crate::engine::apply::{Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::companions::{Companion, Work};
use crate::engine::resources::nodes;
#[cfg(test)]
pub(crate) use composed::metrics_path;
use composed::{annotate, republish, untaint};
use creations::Creations;

/// How often nodes are compared with the pods on them. The virtual cluster's own controllers remove the pods
/// of a node that is gone after 40 s.
const SWEEP: Duration = Duration::from_secs(10);

/// Where the kubelet of every fake node is reached.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// A name or an address, for the virtual API server.
    pub address: String,
    /// An address for readers of metrics in the virtual cluster, if there may be any.
    pub readers: Option<IpAddr>,
    /// The port there.
    pub port: u16,
}

/// Creates and deletes fake nodes.
pub(crate) struct Nodes {
    state: Arc<State>,
    writer: Arc<Writer>,
    kubelet: Option<Kubelet>,
    creations: Creations,
}

impl Nodes {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>, kubelet: Option<Kubelet>) -> Self {
        Self { state, writer, kubelet, creations: Creations::default() }
    }

    /// Creates the node, if there is none of that name, and completes one of ours that an earlier try has left halfway.
    async fn ensure_node(&self, name: &str) -> Result<(), api::Error> {
        if self.is_complete(name) {
            return Ok(());
        }
        let create =
            || complete(self.state.clone(), self.writer.clone(), self.kubelet.clone(), name.to_owned());
        if self.creations.join(name, create).await? {
            return Ok(());
        }
        Err(api::Error::Withheld("the node is being created, and the server does not answer".to_owned()))
    }

    fn is_complete(&self, name: &str) -> bool {
        let is_complete = |node: &VirtualObject| {
            let kubelet = self.kubelet.as_ref();
            untaint(node).is_none() && republish(node, kubelet).is_none() && annotate(node, kubelet).is_none()
        };
        self.state.nodes.get("", name).is_some_and(|node| is_complete(&node))
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
                log(&name, "failed to create a node again", self.ensure_node(&name).await);
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
        Box::pin(
            async move { self.ensure_node(node).await.map_err(Side::Virtual.failed_to("create node", node)) },
        )
    }
}

/// Creates a node, publishes its kubelet and removes its taint, or what of that is left to do.
async fn complete(
    state: Arc<State>,
    writer: Arc<Writer>,
    kubelet: Option<Kubelet>,
    name: String,
) -> Result<(), api::Error> {
    let (known, kubelet) = (state.nodes.get("", &name), kubelet.as_ref());
    let mut node = match known {
        Some(node) => node,
        None => match writer.create_virtual(&nodes(), &composed::node(&name, &state, kubelet)).await {
            // If it is ours, the watch shows it, and the sweep completes it.
            Err(error) if error.is_already_exists() => return Ok(()),
            created => created?,
        },
    };
    state.nodes.put_answer(node.clone());
    let missing = [republish, annotate, |node: &VirtualObject, _: Option<&Kubelet>| untaint(node)];
    for missing in missing {
        if let Some(change) = missing(&node, kubelet) {
            node = writer.patch_virtual(&nodes(), &node.virtual_name(), node.uid(), &change).await?;
            state.nodes.put_answer(node.clone());
        }
    }
    Ok(())
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

    use super::composed::NOT_READY;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo};

    const NEW: [&str; 2] = ["POST /api/v1/nodes", "PATCH /api/v1/nodes/node-1"];

    fn taints(of: &[&str]) -> Value {
        of.iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect()
    }

    /// Puts the taint on new nodes, as admission does.
    fn tainting(asked: &Asked) -> Answer {
        let Answer::Reply(status, mut node) = echo(asked) else { panic!("echo replies") };
        if asked.method == Method::POST {
            node["spec"] = json!({"taints": taints(&[NOT_READY])});
        } else {
            node["metadata"]["resourceVersion"] = "101".into();
        }
        Answer::Reply(status, node)
    }

    /// Puts a node into the cache.
    fn seen(bench: &Bench, name: &str, labels: &Value, of: &[&str]) {
        let metadata = json!({"name": name, "uid": name, "resourceVersion": "1", "labels": labels});
        let node = json!({"metadata": metadata, "spec": {"taints": taints(of)}});
        bench.state.nodes.put(Arc::new(VirtualObject::from_json(node).unwrap()));
    }

    fn ours() -> Value {
        json!({FAKE_NODE_LABEL: "true"})
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_created_once_and_loses_its_taint() {
        let bench = Bench::new(echo, tainting);
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None);
        let (one, other) = tokio::join!(nodes.before_bind("node-1"), nodes.before_bind("node-1"));
        one.and(other).unwrap();
        nodes.before_bind("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), NEW);
        assert_eq!(bench.virtual_requests.bodies(&Method::PATCH)[0]["spec"], json!({"taints": []}));
        assert!(bench.state.nodes.contains("", "node-1"));
        assert!(bench.host_requests.all().is_empty(), "the host is never asked about nodes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_created_and_never_completed_is_completed() {
        let bench = Bench::echoing();
        seen(&bench, "node-1", &ours(), &[NOT_READY, "maintenance"]);
        seen(&bench, "theirs", &json!({}), &[NOT_READY]);
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None);
        nodes.before_bind("node-1").await.unwrap();
        nodes.before_bind("theirs").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["PATCH /api/v1/nodes/node-1"]);
        let patch = &bench.virtual_requests.bodies(&Method::PATCH)[0];
        assert_eq!(patch["spec"], json!({"taints": taints(&["maintenance"])}), "others' taints stay");
        assert_eq!(patch["metadata"], json!({"uid": "node-1", "resourceVersion": "1"}));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_of_an_earlier_version_gets_the_kubelets_address() {
        let bench = Bench::echoing();
        seen(&bench, "node-1", &ours(), &[]);
        let kubelet = Some(Kubelet { address: "localhost".to_owned(), readers: None, port: 10_250 });
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), kubelet);
        nodes.before_bind("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["PATCH /api/v1/nodes/node-1/status"]);
        let patch = &bench.virtual_requests.bodies(&Method::PATCH)[0];
        assert_eq!(patch["status"]["addresses"][0]["address"], "localhost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_whose_creation_got_no_reply_is_completed_by_the_sweep() {
        let bench = Bench::echoing();
        let nodes = Arc::new(Nodes::new(bench.state.clone(), bench.writer.clone(), None));
        let mut pod = crate::engine::testing::pod();
        pod["spec"]["nodeName"] = "node-1".into();
        bench.watch_virtual("v1/Pod", pod);
        let sweeping = tokio::spawn(nodes.sweep_forever());
        seen(&bench, "node-1", &ours(), &[NOT_READY]);
        tokio::time::sleep(SWEEP * 2).await;
        assert_eq!(bench.virtual_requests.lines(), ["PATCH /api/v1/nodes/node-1"]);
        sweeping.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_creation_that_is_not_answered_holds_up_no_other_node_and_is_tried_again() {
        let silent = |asked: &Asked| match asked.body.pointer("/metadata/name").and_then(Value::as_str) {
            Some("node-1") => Answer::Silence,
            _ => echo(asked),
        };
        let bench = Bench::new(echo, silent);
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None);
        let begun = tokio::time::Instant::now();
        for _ in 0..24 {
            let error = nodes.before_bind("node-1").await.unwrap_err();
            assert_eq!(error.source.retry_after(), Some(Duration::from_secs(1)), "{error}");
        }
        nodes.before_bind("node-2").await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "on the paused clock: {:?}", begun.elapsed());
        assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes"; 2]);
        tokio::time::sleep(Duration::from_mins(1)).await;
        nodes.before_bind("node-1").await.unwrap_err();
        assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes"; 3], "the first has timed out");
    }

    #[tokio::test]
    async fn a_node_that_somebody_else_has_created_is_taken_as_it_is() {
        let bench = Bench::new(echo, |_| Answer::failure(409, "AlreadyExists"));
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None);
        nodes.before_bind("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes"]);
    }

    #[tokio::test]
    async fn only_an_unused_node_of_ours_is_deleted() {
        let bench = Bench::echoing();
        let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None);
        seen(&bench, "ours", &ours(), &[]);
        seen(&bench, "theirs", &json!({}), &[]);
        nodes.remove_unused("ours").await.unwrap();
        nodes.remove_unused("theirs").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["DELETE /api/v1/nodes/ours"]);
        assert_eq!(bench.virtual_requests.all()[0].body["preconditions"]["uid"], "ours");
    }
}
