//! EndpointSlice: those that people write, for Services without a selector or for none; controllers' are not copied.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::endpoints::{items_mut, service_key, target_to_host, without_selector};
use crate::context::Ctx;
use crate::mapper::{Hold, Life, Mapper, Policy, Selection};
use crate::object::{HostObject, Key, ResourceType, VirtualName, VirtualObject};

const POLICY: Policy = Policy { selection: Selection::All, life: Life::Data };

/// Label: who writes the slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Label: the Service that the slice belongs to.
const SERVICE: &str = "kubernetes.io/service-name";

/// Controllers that run on the host as well and make slices of their own there.
const CONTROLLERS: &[&str] = &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// The rules of EndpointSlices.
#[derive(Debug)]
pub struct EndpointSlice {
    resource: ResourceType,
}

impl EndpointSlice {
    /// The rules.
    pub fn new() -> Self {
        let core = ResourceType::core("EndpointSlice", "endpointslices");
        Self { resource: ResourceType { group: Cow::Borrowed("discovery.k8s.io"), ..core } }
    }
}

impl Default for EndpointSlice {
    fn default() -> Self {
        Self::new()
    }
}

impl Mapper for EndpointSlice {
    fn resource(&self) -> &ResourceType {
        &self.resource
    }

    fn policy(&self) -> &Policy {
        &POLICY
    }

    fn owned(&self) -> Vec<&str> {
        vec!["/endpoints", "/ports"]
    }

    fn targets(&self, source: &VirtualObject) -> BTreeSet<Key> {
        service_of(source).map(service_key).into_iter().collect()
    }

    fn to_host(
        &self,
        ctx: &Ctx<'_>,
        source: &VirtualObject,
        mut draft: HostObject,
    ) -> Result<HostObject, Hold> {
        if source.label(MANAGED_BY).is_some_and(|manager| CONTROLLERS.contains(&manager)) {
            return Err(Hold::Absent);
        }
        if let Some(service) = service_of(source) {
            let host_name = ctx.names.host_name(&service);
            without_selector(ctx, service)?;
            draft.labels_mut().insert(SERVICE.to_owned(), host_name.as_str().into());
        }
        for endpoint in items_mut(draft.pointer_mut("/endpoints")) {
            target_to_host(ctx, source.namespace(), endpoint);
        }
        Ok(draft)
    }

    /// The type of the addresses can never change.
    fn replace(&self, desired: &HostObject, current: &HostObject) -> bool {
        desired.pointer("/addressType") != current.pointer("/addressType")
    }
}

fn service_of(source: &VirtualObject) -> Option<VirtualName> {
    let name = source.label(SERVICE).filter(|name| !name.is_empty())?;
    Some(VirtualName::new(source.namespace(), name))
}
