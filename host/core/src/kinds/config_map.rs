//! ConfigMap: copied as it is, while something on the host uses it.

use serde_json::Value;

use crate::context::Ctx;
use crate::mapper::{Hold, Life, Mapper, Policy, Selection};
use crate::object::{HostObject, ResourceType, VirtualObject};

const POLICY: Policy = Policy { selection: Selection::Used, life: Life::Data };

/// The rules of ConfigMaps.
#[derive(Debug)]
pub struct ConfigMap {
    resource: ResourceType,
}

impl ConfigMap {
    /// The rules.
    pub fn new() -> Self {
        Self { resource: ResourceType::core("ConfigMap", "configmaps") }
    }
}

impl Default for ConfigMap {
    fn default() -> Self {
        Self::new()
    }
}

impl Mapper for ConfigMap {
    fn resource(&self) -> &ResourceType {
        &self.resource
    }

    fn policy(&self) -> &Policy {
        &POLICY
    }

    fn owned(&self) -> Vec<&str> {
        vec!["/data", "/binaryData", "/immutable"]
    }

    fn to_host(
        &self,
        _ctx: &Ctx<'_>,
        _source: &VirtualObject,
        draft: HostObject,
    ) -> Result<HostObject, Hold> {
        Ok(draft)
    }

    /// The API changes nothing of an immutable `ConfigMap`.
    fn replace(&self, desired: &HostObject, current: &HostObject) -> bool {
        let is_immutable = current.pointer("/immutable").and_then(Value::as_bool).unwrap_or(false);
        is_immutable && !self.host_changes(desired, current).is_empty()
    }
}
