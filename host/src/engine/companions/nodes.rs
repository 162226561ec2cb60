//! Virtual nodes: a fake one for each host node that runs a pod of ours, or one that mirrors each selected host node.
//!
//! Fake ones need no permission on the host: their names come from pods' bindings, all else is invented. A node
//! exists before the first pod is bound to it and goes some time after the last one. A mirrored node exists while its host
//! node does, and as long as a pod is on it: what becomes of its pods is the host's to decide.

mod composed;
mod creations;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};
use weft_core::change::Change;
use weft_core::keys::{FAKE_NODE_LABEL, MIRRORED_LABEL};
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

/// Between two times that the spec of nodes is brought back: whoever changes it again and again does not make us do more.
const RESTORED: Duration = Duration::from_secs(1);
/// What the event on a made-up node says whose spec was brought back.
const RESTORED_WHY: &str = "the host schedules the pods of this node, which is made up, and knows nothing of its taints and of \
                            `kubectl cordon`: they were removed; to keep pods away, use node affinity, or ask the operator to \
                            taint or cordon the host's node";
/// The same of a mirrored one.
const MIRRORED_WHY: &str = "the host schedules the pods of this node, and knows nothing of taints and `kubectl cordon` in the \
                            virtual cluster: it has those of the host's node again; to keep pods away, use node affinity, or \
                            ask the operator to taint or cordon the host's node";
/// How often nodes are compared with the pods on them. The virtual cluster's own controllers remove the pods
/// of a node that is gone after 40 s.
const SWEEP: Duration = Duration::from_secs(10);

/// What a made-up node may lack.
const MISSING: [fn(&VirtualObject, Option<&Kubelet>) -> Option<Change>; 3] =
    [republish, annotate, |node, _| untaint(node)];

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

    async fn remove_unused(&self, name: &str) -> Result<(), api::Error> {
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
    let mut node = match known {
        Some(node) => node,
        None => {
            let made_up = || composed::node(&name, &state, kubelet);
            match writer.create_virtual(&nodes(), &wanted.clone().unwrap_or_else(made_up)).await {
                // If it is ours, the watch shows it, and the sweep completes it.
                Err(error) if error.is_already_exists() => return Ok(()),
                created => created?,
            }
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

fn log(node: &str, what: &str, result: Result<(), api::Error>) {
    if let Err(error) = result {
        warn!(%node, error = &error as &dyn std::error::Error, "{what}");
    }
}

#[cfg(test)]
mod tests;
