//! Virtual nodes: a fake one for each host node that runs a pod of ours, or one that mirrors each selected host node.
//!
//! Fake ones need no permission on the host: their names come from pods' bindings, all else is invented. A node
//! exists before the first pod is bound to it and goes some time after the last one. A mirrored node exists while its host
//! node does, and as long as a pod is on it: what becomes of its pods is the host's to decide.

mod composed;
mod creations;
mod follow;

use std::net::IpAddr;
use std::sync::Arc;

use weft_core::change::Change;
use weft_core::keys::MIRRORED_LABEL;
use weft_core::nodes::patch;
use weft_core::object::VirtualObject;

use crate::api;
use crate::engine::apply::{Side, Writer};
use crate::engine::cache::state::{State, is_our_node, node_key};
use crate::engine::companions::{Companion, Work};
use crate::engine::events::reason::Reason;
use crate::engine::events::recorder::{EventRecorder, ObjectEvent};
use crate::engine::resources::nodes;
#[cfg(test)]
pub(crate) use composed::metrics_path;
use composed::{annotate, is_changed_by_others, republish, untaint};
use creations::Creations;

/// What the event on a made-up node says whose spec was brought back.
const RESTORED_WHY: &str = "the host schedules the pods of this node, which is made up, and knows nothing of its taints and of \
                            `kubectl cordon`: they were removed; to keep pods away, use node affinity, or ask the operator to \
                            taint or cordon the host's node";
/// The same of a mirrored one.
const MIRRORED_WHY: &str = "the host schedules the pods of this node, and knows nothing of taints and `kubectl cordon` in the \
                            virtual cluster: it has those of the host's node again; to keep pods away, use node affinity, or \
                            ask the operator to taint or cordon the host's node";

/// The patch that a made-up node lacks, if it does.
type Missing = fn(&VirtualObject, Option<&Kubelet>) -> Option<Change>;
/// All that one may lack.
const MISSING: [Missing; 3] = [republish, annotate, |node, _| untaint(node)];

/// Where the kubelet of every node of ours is reached.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// A name or an address, for the virtual API server.
    pub address: String,
    /// An address for readers of metrics in the virtual cluster, if there may be any.
    pub readers: Option<IpAddr>,
    /// The port there.
    pub port: u16,
}

/// Creates, changes and deletes nodes of ours.
pub(crate) struct Nodes {
    state: Arc<State>,
    writer: Arc<Writer>,
    kubelet: Option<Kubelet>,
    /// Whether those of the host are mirrored.
    mirrors: bool,
    recorder: EventRecorder,
    creations: Creations,
}

impl Nodes {
    pub(crate) fn new(
        state: Arc<State>,
        writer: Arc<Writer>,
        kubelet: Option<Kubelet>,
        mirrors: bool,
        recorder: EventRecorder,
    ) -> Self {
        Self { state, writer, kubelet, mirrors, recorder, creations: Creations::default() }
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
        let Some(node) = self.state.nodes.get("", name) else { return false };
        let kubelet = self.kubelet.as_ref();
        match composed::mirrored(name, &self.state, kubelet) {
            Some(wanted) => !is_our_node(&node) || patch::changes(&node, &wanted).is_empty(),
            None => MISSING.iter().all(|missing| missing(&node, kubelet).is_none()),
        }
    }

    fn report(&self, node: Arc<VirtualObject>) {
        let reason = Reason::NodeRestored;
        let why = if node.label(MIRRORED_LABEL).is_some() { MIRRORED_WHY } else { RESTORED_WHY };
        self.recorder.record(ObjectEvent {
            key: node_key(node.name()),
            object: node,
            by: None,
            is_warning: reason.is_warning(),
            reason: reason.as_str().to_owned(),
            message: why.to_owned(),
            is_known_by_reason: true,
        });
    }
}

impl Companion for Nodes {
    fn kind(&self) -> &'static str {
        "v1/Pod"
    }

    fn before_bind<'a>(&'a self, node: &'a str) -> Work<'a, ()> {
        Box::pin(async move {
            // It follows its host node by itself: no pod waits for that.
            let known = self.state.nodes.get("", node);
            if known.is_some_and(|node| node.label(MIRRORED_LABEL).is_some()) {
                return Ok(());
            }
            self.ensure_node(node).await.map_err(Side::Virtual.failed_to("create node", node))
        })
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
    let wanted = composed::mirrored(&name, &state, kubelet);
    let mut node = if let Some(node) = known {
        node
    } else {
        let made_up = || composed::node(&name, &state, kubelet);
        match writer.create_virtual(&nodes(), &wanted.clone().unwrap_or_else(made_up)).await {
            // If it is ours, the watch shows it, and the sweep completes it.
            Err(error) if error.is_already_exists() => return Ok(()),
            created => created?,
        }
    };
    state.nodes.put_answer(node.clone());
    if let Some(wanted) = wanted {
        let changes = if is_our_node(&node) { patch::changes(&node, &wanted) } else { Vec::new() };
        for change in changes {
            let node = writer.patch_virtual(&nodes(), &node.virtual_name(), node.uid(), &change).await?;
            state.nodes.put_answer(node);
        }
        return Ok(());
    }
    for missing in MISSING {
        if let Some(change) = missing(&node, kubelet) {
            node = writer.patch_virtual(&nodes(), &node.virtual_name(), node.uid(), &change).await?;
            state.nodes.put_answer(node.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use http::Method;
    use serde_json::{Value, json};
    use weft_core::keys::FAKE_NODE_LABEL;
    use weft_core::nodes::patch::NOT_READY;

    use super::follow::{RESTORED, SWEEP};
    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::changed::Changed;
    use crate::engine::testing::{Bench, echo};

    const NEW: [&str; 2] = ["POST /api/v1/nodes", "PATCH /api/v1/nodes/node-1"];

    pub(super) fn taints(of: &[&str]) -> Value {
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
        Nodes::new(bench.state.clone(), bench.writer.clone(), kubelet, false, bench.recorder())
    }

    /// Puts a node into the cache.
    pub(super) fn seen(bench: &Bench, name: &str, labels: &Value, of: &[&str]) {
        let metadata = json!({"name": name, "uid": name, "resourceVersion": "1", "labels": labels});
        let node = json!({"metadata": metadata, "spec": {"taints": taints(of)}});
        bench.state.nodes.put(Arc::new(VirtualObject::from_json(node).unwrap()));
    }

    pub(super) fn ours() -> Value {
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
        let restoring = tokio::spawn(Arc::new(new(&bench, None)).follow_forever());
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
