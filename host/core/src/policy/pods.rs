//! How pods may run on the host.

/// What the operator allows pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodPolicy {}

impl PodPolicy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        Self {}
    }
}
