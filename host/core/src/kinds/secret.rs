//! Secret: copied as it is, while something on the host uses it; those that controllers act on become opaque.

use serde_json::Value;

use crate::context::Ctx;
use crate::mapper::{Hold, Life, Mapper, Policy, Selection};
use crate::object::{HostObject, ResourceType, VirtualObject};

const POLICY: Policy = Policy { selection: Selection::Used, life: Life::Data };

/// Types that controllers of the host act on: they would put the host's tokens in, or delete the copy.
const ACTIVE_TYPES: &[&str] = &["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];
/// Annotations that tie a Secret to a ServiceAccount, which the host does not have.
const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.";

/// The rules of Secrets.
#[derive(Debug)]
pub struct Secret {
    resource: ResourceType,
}

impl Secret {
    /// The rules.
    pub fn new() -> Self {
        Self { resource: ResourceType::core("Secret", "secrets") }
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::new()
    }
}

impl Mapper for Secret {
    fn resource(&self) -> &ResourceType {
        &self.resource
    }

    fn policy(&self) -> &Policy {
        &POLICY
    }

    fn owned(&self) -> Vec<&str> {
        vec!["/data", "/immutable"]
    }

    fn to_host(
        &self,
        _ctx: &Ctx<'_>,
        source: &VirtualObject,
        mut draft: HostObject,
    ) -> Result<HostObject, Hold> {
        draft.annotations_mut().retain(|key, _| !key.starts_with(SERVICE_ACCOUNT));
        if source.text("/type").is_some_and(|kind| ACTIVE_TYPES.contains(&kind)) {
            draft.fields_mut().insert("type".to_owned(), "Opaque".into());
        }
        Ok(draft)
    }

    /// The API changes neither the type nor anything of an immutable Secret.
    fn replace(&self, desired: &HostObject, current: &HostObject) -> bool {
        let kind = |object: &HostObject| object.text("/type").unwrap_or("Opaque").to_owned();
        let is_immutable = current.pointer("/immutable").and_then(Value::as_bool).unwrap_or(false);
        kind(desired) != kind(current) || (is_immutable && !self.host_changes(desired, current).is_empty())
    }
}
