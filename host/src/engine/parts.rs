//! What the engine is made of.

use std::sync::Arc;

use tokio::sync::{mpsc, watch as signal};
use weft_core::context::Facts;
use weft_core::names::Names;
use weft_core::object::{Host, Virtual};

use crate::addons::Addon;
use crate::api::Api;
use crate::engine::ambient::Ambient;
use crate::engine::companions::nodes::Kubelet;
use crate::engine::watches::host_nodes::Mirror;
use crate::registry::Rules;
use crate::registry::plugin_event::PluginEvent;

/// What the engine is made of.
pub struct Parts {
    /// The host's API server.
    pub host: Api<Host>,
    /// The virtual API server.
    pub r#virtual: Api<Virtual>,
    /// How names are made.
    pub names: Names,
    /// The rules of each kind, which may change at any time.
    pub rules: signal::Receiver<Arc<Rules>>,
    /// What happens to the plugins behind those rules.
    pub plugin_events: mpsc::Receiver<PluginEvent>,
    /// What is applied in the virtual cluster, which may change at any time.
    pub addons: signal::Receiver<Arc<Vec<Addon>>>,
    /// What is known of both clusters so far.
    pub facts: Facts,
    /// Host Service of the virtual API server.
    pub service: String,
    /// How many pairs are worked on at once.
    pub workers: usize,
    /// Where the kubelet of the virtual nodes is, if there is one.
    pub kubelet: Option<Kubelet>,
    /// Which nodes of the host are mirrored; none where nodes are made up.
    pub mirror: Option<Mirror>,
    /// The clock and the chance that it goes by.
    pub ambient: Ambient,
}
