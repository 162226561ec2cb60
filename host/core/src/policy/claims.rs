//! Which storage of the host claims may ask for.

use super::patterns::Patterns;

/// What the operator allows claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimPolicy {
    /// Storage classes that claims may name. One that names none gets the host's default.
    pub storage_classes: Patterns,
    /// Claims may bind volumes that somebody has made before: by the class `""`, or by a selector.
    pub existing_volumes: bool,
    /// Volume attributes classes that claims may name.
    pub volume_attributes_classes: Patterns,
}

impl ClaimPolicy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        Self {
            storage_classes: Patterns::any(),
            existing_volumes: true,
            volume_attributes_classes: Patterns::any(),
        }
    }
}
