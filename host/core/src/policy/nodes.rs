//! What the virtual cluster shows of the host's nodes, where it mirrors them.

use super::patterns::Patterns;

/// The labels that a mirrored node shows by default: those by which every pod may choose its node, and what kind of machine it
/// is. Others say whom a node is for, which account it is billed to, and how the host is run.
pub const NODE_LABELS: &[&str] = &[
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/*",
];

/// What a mirrored node shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePolicy {
    /// Keys of labels.
    pub labels: Patterns,
    /// Keys of annotations.
    pub annotations: Patterns,
    /// Whether it has the taints of its host node, and is cordoned with it.
    pub taints: bool,
    /// Whether it lists the images that are on the machine, which are those of every tenant.
    pub images: bool,
}

impl Default for NodePolicy {
    fn default() -> Self {
        Self {
            labels: Patterns::of(NODE_LABELS),
            annotations: Patterns::default(),
            taints: true,
            images: false,
        }
    }
}
