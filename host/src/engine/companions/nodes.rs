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
use crate::engine::cache::state::{State, is_spoilt, node_key};
use crate::engine::companions::{Companion, Work};
use crate::engine::events::reason::Reason;
use crate::engine::events::recorder::{EventRecorder, ObjectEvent};
use crate::engine::resources::nodes;
#[cfg(test)]
pub(crate) use composed::metrics_path;
use composed::{annotate, is_changed_by_others, republish, untaint};
use creations::Creations;

/// Between two times that the spec of nodes is brought back: whoever changes it again and again does not make us do more.
const RESTORED: Duration = Duration::from_secs(1);
/// What the event on a node says whose spec was brought back.
const RESTORED_WHY: &str = "the host schedules the pods of this node, which is made up, and knows nothing of its taints and of \
                            `kubectl cordon`: they were removed; to keep pods away, use node affinity, or ask the operator to \
                            taint or cordon the host's node";
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
    recorder: EventRecorder,
    creations: Creations,
}

impl Nodes {
    pub(crate) fn new(
        state: Arc<State>,
        writer: Arc<Writer>,
        kubelet: Option<Kubelet>,
        recorder: EventRecorder,
    ) -> Self {
        Self { state, writer, kubelet, recorder, creations: Creations::default() }
    }

    /// Creates the node, if there is none of that name, and completes one of ours that an earlier try has left halfway.
    async fn ensure_node(&self, name: &str) -> Result<(), api::Error> {
        if self.is_complete(name) {
            return Ok(());
        }
        // Whoever comes first: a pod that is bound, or the one who watches the nodes.
        if let Some(node) = self.state.nodes.get("", name).filter(|node| is_changed_by_others(node)) {
            self.report(node);
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

    /// Brings the spec of our nodes back when somebody has changed it, for ever.
    pub(crate) async fn restore_forever(self: Arc<Self>) {
        loop {
            self.state.node_spoilt.notified().await;
            for (_, name) in self.state.nodes.names() {
                if self.state.nodes.get("", &name).is_some_and(|node| is_spoilt(&node)) {
                    log(&name, "failed to bring the spec of a node back", self.ensure_node(&name).await);
                }
            }
            tokio::time::sleep(RESTORED).await;
        }
    }

    fn report(&self, node: Arc<VirtualObject>) {
        let reason = Reason::NodeRestored;
        self.recorder.record(ObjectEvent {
            key: node_key(node.name()),
            object: node,
            by: None,
            is_warning: reason.is_warning(),
            reason: reason.as_str().to_owned(),
            message: RESTORED_WHY.to_owned(),
            is_known_by_reason: true,
        });
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
    use crate::engine::cache::changed::Changed;
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

    fn new(bench: &Bench, kubelet: Option<Kubelet>) -> Nodes {
        Nodes::new(bench.state.clone(), bench.writer.clone(), kubelet, bench.recorder())
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
        let nodes = new(&bench, None);
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
        let nodes = new(&bench, None);
        nodes.before_bind("node-1").await.unwrap();
        nodes.before_bind("theirs").await.unwrap();
        let patches = bench.virtual_requests.bodies(&Method::PATCH);
        assert_eq!(patches.len(), 1, "theirs is left alone: {patches:?}");
        let patch = &patches[0];
        assert_eq!(patch["spec"], json!({"taints": []}), "the spec is ours");
        assert_eq!(patch["metadata"], json!({"uid": "node-1", "resourceVersion": "1"}));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_of_an_earlier_version_gets_the_kubelets_address() {
        let bench = Bench::echoing();
        seen(&bench, "node-1", &ours(), &[]);
        let kubelet = Some(Kubelet { address: "localhost".to_owned(), readers: None, port: 10_250 });
        let nodes = new(&bench, kubelet);
        nodes.before_bind("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["PATCH /api/v1/nodes/node-1/status"]);
        let patch = &bench.virtual_requests.bodies(&Method::PATCH)[0];
        assert_eq!(patch["status"]["addresses"][0]["address"], "localhost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_whose_creation_got_no_reply_is_completed_by_the_sweep() {
        let bench = Bench::echoing();
        let nodes = Arc::new(new(&bench, None));
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
        let nodes = new(&bench, None);
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

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_tainted_or_cordoned_is_brought_back_at_once_with_an_event() {
        let bench = Bench::echoing();
        let restoring = tokio::spawn(Arc::new(new(&bench, None)).restore_forever());
        let node = |name: &str, labels: &Value, spec: &Value| {
            let metadata = json!({"name": name, "uid": name, "resourceVersion": "1", "labels": labels});
            Arc::new(VirtualObject::from_json(json!({"metadata": metadata, "spec": spec})).unwrap())
        };
        let cordoned =
            json!({"unschedulable": true, "taints": taints(&["node.kubernetes.io/unschedulable"])});
        let evicting = json!({"taints": [{"key": "mine", "effect": "NoExecute"}]});
        for (name, labels, spec, expected) in [
            ("tainted", ours(), &evicting, vec![json!({"taints": []})]),
            ("cordoned", ours(), &cordoned, vec![json!({"taints": [], "unschedulable": null})]),
            ("clean", ours(), &json!({}), vec![]),
            ("theirs", json!({}), &evicting, vec![]),
        ] {
            let node = node(name, &labels, spec);
            bench.state.nodes.put(node.clone());
            bench.state.node_changed(&Changed::new(node));
            tokio::time::sleep(RESTORED * 2).await;
            let patches = bench.virtual_requests.bodies(&Method::PATCH);
            let of_node = patches.iter().filter(|patch| patch["metadata"]["uid"] == name);
            assert_eq!(of_node.map(|patch| patch["spec"].clone()).collect::<Vec<_>>(), expected, "{name}");
        }
        let events = bench.virtual_requests.bodies(&Method::POST);
        assert!(events.iter().any(|event| event["reason"] == "NodeSpecRestored"), "{events:?}");
        restoring.abort();
    }

    #[tokio::test]
    async fn a_node_that_a_tenant_writes_into_a_pod_is_not_created() {
        let bench = Bench::echoing();
        let mut source = crate::engine::testing::pod();
        source["spec"]["nodeName"] = "made-up".into();
        bench.watch_virtual("v1/Pod", source.clone());
        assert!(bench.state.used_nodes().is_empty());
        let mut host = crate::engine::testing::host_object("v1/Pod", "shop", "web", "uid-1");
        host["spec"] = json!({"nodeName": "made-up"});
        bench.put_host("v1/Pod", host);
        assert_eq!(bench.state.used_nodes(), ["made-up".to_owned()].into(), "the host runs it there");
    }

    #[tokio::test]
    async fn a_node_that_somebody_else_has_created_is_taken_as_it_is() {
        let bench = Bench::new(echo, |_| Answer::failure(409, "AlreadyExists"));
        let nodes = new(&bench, None);
        nodes.before_bind("node-1").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes"]);
    }

    #[tokio::test]
    async fn only_an_unused_node_of_ours_is_deleted() {
        let bench = Bench::echoing();
        let nodes = new(&bench, None);
        seen(&bench, "ours", &ours(), &[]);
        seen(&bench, "theirs", &json!({}), &[]);
        nodes.remove_unused("ours").await.unwrap();
        nodes.remove_unused("theirs").await.unwrap();
        assert_eq!(bench.virtual_requests.lines(), ["DELETE /api/v1/nodes/ours"]);
        assert_eq!(bench.virtual_requests.all()[0].body["preconditions"]["uid"], "ours");
    }
}
