//! How pods may run on the host, and what of it they may choose.

mod taints;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::patterns::Patterns;

pub use taints::{Taints, UnusableTaint};

/// The node labels by which every pod may choose its node: which machine, of what kind, and where. The keys are those
/// of "Well-Known Labels, Annotations and Taints" in the documentation of Kubernetes that say nothing of whom a node is for.
pub const NODE_LABELS: &[&str] =
    &["kubernetes.io/arch", "kubernetes.io/hostname", "kubernetes.io/os", "topology.kubernetes.io/*"];
/// The taints that every pod may tolerate: admission has each pod tolerate them for five minutes
/// (`DefaultTolerationSeconds`), and only eviction follows from them, of pods that run already.
pub const TAINTS: &[&str] =
    &["node.kubernetes.io/not-ready:NoExecute", "node.kubernetes.io/unreachable:NoExecute"];
/// The longest time that a pod may take to end, a day: long enough for databases, and it lets a node be drained.
pub const MAX_TERMINATION_GRACE_PERIOD_SECONDS: u32 = 86_400;

/// Volume sources that reach beyond the pod without naming an object of the tenant's.
pub const OUTSIDE_VOLUMES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "hostPath",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Those of them that the list of volumes does not allow: `hostPath` is of the security level, and each driver of `csi` has a name.
const RULED_ELSEWHERE: &[&str] = &["csi", "hostPath"];

/// Types of volumes that reach beyond the pod and can be allowed by name.
pub fn nameable_volumes() -> impl Iterator<Item = &'static str> {
    OUTSIDE_VOLUMES.iter().copied().filter(|source| !RULED_ELSEWHERE.contains(source))
}

/// What the operator allows pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPolicy {
    /// Which of the Pod Security Standards pods keep to.
    pub security: SecurityLevel,
    /// Keys of node labels by which pods may choose their nodes.
    pub node_labels: Patterns,
    /// Labels of the host's nodes that pods may run on; on all where there are none. Every host pod has them in its selector.
    pub node_selector: BTreeMap<String, String>,
    /// Taints of host nodes that pods may tolerate.
    pub taints: Taints,
    /// Runtime classes of the host that pods may run with.
    pub runtime_classes: Patterns,
    /// Types of volumes beside those that hold only what is the tenant's.
    pub volumes: Patterns,
    /// Drivers of inline CSI volumes.
    pub csi_drivers: Patterns,
    /// The longest time that a pod may take to end.
    pub max_termination_grace_period_seconds: i64,
}

/// A level of the Pod Security Standards, the strictest first. Each allows all that those before it do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecurityLevel {
    /// Current practice of hardening pods.
    Restricted,
    /// No known way out of the pod.
    #[default]
    Baseline,
    /// Everything, the node included.
    Privileged,
}

impl Default for PodPolicy {
    fn default() -> Self {
        Self {
            security: SecurityLevel::default(),
            node_labels: Patterns::of(NODE_LABELS),
            node_selector: BTreeMap::new(),
            taints: Taints::of(TAINTS),
            runtime_classes: Patterns::default(),
            volumes: Patterns::default(),
            csi_drivers: Patterns::default(),
            max_termination_grace_period_seconds: MAX_TERMINATION_GRACE_PERIOD_SECONDS.into(),
        }
    }
}

impl PodPolicy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        Self {
            security: SecurityLevel::Privileged,
            node_labels: Patterns::any(),
            node_selector: BTreeMap::new(),
            taints: Taints::of(&["*"]),
            runtime_classes: Patterns::any(),
            volumes: Patterns::any(),
            csi_drivers: Patterns::any(),
            max_termination_grace_period_seconds: i64::MAX,
        }
    }

    /// Whether a pod may have the toleration.
    pub fn tolerates(&self, toleration: &Value) -> bool {
        self.taints.cover(toleration)
    }
}

impl fmt::Display for SecurityLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Restricted => "restricted",
            Self::Baseline => "baseline",
            Self::Privileged => "privileged",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn by_default_a_pod_gets_what_every_pod_needs() {
        let policy = PodPolicy::default();
        assert_eq!(policy.security, SecurityLevel::Baseline);
        for key in ["kubernetes.io/hostname", "topology.kubernetes.io/zone"] {
            assert!(policy.node_labels.has(key), "{key}");
        }
        for key in ["node-role.kubernetes.io/control-plane", "kubernetes.io/hostnames", "dedicated"] {
            assert!(!policy.node_labels.has(key), "{key}");
        }
        let toleration =
            |key: &str, effect: &str| json!({"key": key, "operator": "Exists", "effect": effect});
        assert!(policy.tolerates(&toleration("node.kubernetes.io/not-ready", "NoExecute")));
        assert!(!policy.tolerates(&toleration("node.kubernetes.io/not-ready", "NoSchedule")));
        assert!(!policy.tolerates(&toleration("node.kubernetes.io/unschedulable", "NoSchedule")));
    }

    #[test]
    fn the_strictest_level_is_the_least() {
        assert!(SecurityLevel::Restricted < SecurityLevel::Baseline);
        assert!(SecurityLevel::Baseline < SecurityLevel::Privileged);
    }
}
