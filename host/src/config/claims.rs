//! Which storage of the host claims may ask for: `claims`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weft_core::policy::claims::ClaimPolicy;

use crate::config::Error;
use crate::config::patterns::{self, patterns};

/// Which storage of the host PersistentVolumeClaims of tenants may ask for, those of ephemeral volumes included. What is not
/// allowed is refused with an event; what is on the host already stays. A change needs a restart of the pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Claims {
    /// Storage classes that a claim may name; `*` is any. One that names none gets the host's default class. Where the
    /// host has volumes that somebody has made before, a claim binds one by naming its class.
    pub storage_classes: Vec<String>,
    /// Whether a claim may have a `selector` or the class `""`, which bind volumes that somebody has made before.
    pub existing_volumes: bool,
    /// Classes that a claim may name in `volumeAttributesClassName`; `*` is any.
    pub volume_attributes_classes: Vec<String>,
}

impl Claims {
    pub(super) fn check(&self) -> Result<(), Error> {
        patterns::check("claims.storageClasses", &self.storage_classes)?;
        patterns::check("claims.volumeAttributesClasses", &self.volume_attributes_classes)
    }

    /// The same for the guard.
    pub fn policy(&self) -> ClaimPolicy {
        ClaimPolicy {
            storage_classes: patterns(&self.storage_classes),
            existing_volumes: self.existing_volumes,
            volume_attributes_classes: patterns(&self.volume_attributes_classes),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::testing::config;

    #[test]
    fn what_the_operator_lists_reaches_the_guard() {
        assert_eq!(config(&json!({})).policy().claims, ClaimPolicy::default());
        let claims =
            json!({"storageClasses": ["fast"], "existingVolumes": true, "volumeAttributesClasses": ["gold"]});
        let policy = config(&json!({"claims": claims})).policy().claims;
        assert!(policy.storage_classes.has("fast") && !policy.storage_classes.has("slow"));
        assert!(policy.existing_volumes && policy.volume_attributes_classes.has("gold"));
    }
}
