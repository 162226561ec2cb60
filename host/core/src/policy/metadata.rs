//! Which labels and annotations of tenants reach the host, where its controllers obey them.

/// What the operator allows labels and annotations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataPolicy {}

impl MetadataPolicy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        Self {}
    }
}
