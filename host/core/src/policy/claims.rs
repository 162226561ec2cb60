//! Which storage of the host claims may ask for.

/// What the operator allows claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimPolicy {}

impl ClaimPolicy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        Self {}
    }
}
