//! Virtual clusters on a host cluster, as people manage them: install, find, connect to and delete them.
//!
//! Everything here runs on somebody's machine with that person's permissions; nothing runs in a virtual cluster's pod.
//! What is here fails with a message for people that names the object and what to do: nobody matches on it.

pub mod cause;
pub mod chart;
pub mod check;
pub mod claims;
pub mod connection;
pub mod context;
pub mod events;
pub mod find;
pub mod forward;
pub mod forwarder;
pub mod helm;
pub mod host;
pub mod kubeconfig;
pub mod logs;
pub mod preflight;
pub mod progress;
pub mod removal;
pub mod rendered;
pub mod smoke;
pub mod status;
pub mod values;

use weft_core::keys::CLUSTER_LABEL;

/// Label of every object of the chart: the chart's name.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Label of every object of the chart: the virtual cluster's name.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// Label of every object of the chart: the version of weft.
pub const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// The chart's name.
pub const CHART: &str = "weft";
/// The port of the virtual API server in its pod.
pub const API_SERVER_PORT: u16 = 6443;

/// A virtual cluster's name and its host namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    /// The host namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Place {
    /// Selects the objects of the chart. Not those of tenants, who may give theirs the same labels.
    pub fn selector(&self) -> String {
        format!("{NAME_LABEL}={CHART},{INSTANCE_LABEL}={},!{CLUSTER_LABEL}", self.name)
    }

    /// Where a virtual cluster is created if nobody names a namespace.
    pub fn default_namespace(name: &str) -> String {
        format!("weft-{name}")
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in namespace {}", self.name, self.namespace)
    }
}
