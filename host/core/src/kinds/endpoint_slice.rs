//! EndpointSlice: those that people write, for Services without a selector or for none; controllers' are not copied.

use std::sync::LazyLock;

use super::endpoints::{self, items_mut, target_to_host, without_selector};
use crate::context::Ctx;
use crate::host_controllers::{self, SERVICE_IMPORT_LABEL};
use crate::mapper::{Mapper, Patcher};
use crate::object::{HostObject, Object, VirtualName, VirtualObject};
use crate::references::Reference;
use crate::spec::KindSpec;
use crate::verdict::Verdict;

/// Label: who writes the slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Label: the Service that the slice belongs to.
pub const SERVICE_LABEL: &str = host_controllers::SERVICE_LABEL.0;

/// Makes slices from the selectors of Services.
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Makes slices from Endpoints.
const MIRRORING_CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";

/// The mapper of EndpointSlices.
#[derive(Debug)]
pub struct EndpointSlice;

static SPEC: LazyLock<KindSpec> = LazyLock::new(|| {
    KindSpec::core("EndpointSlice", "endpointslices")
        .in_group("discovery.k8s.io")
        .references([host_controllers::SERVICE_LABEL, SERVICE_IMPORT_LABEL].map(Reference::in_label))
        .managed(["/endpoints", "/ports"])
});

impl Mapper for EndpointSlice {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        // Both controllers run on the host as well, and make slices of their own there.
        if is_made_by_controller(source) || source.label(MANAGED_BY) == Some(MIRRORING_CONTROLLER) {
            return Err(endpoints::made_by_the_host());
        }
        if let Some(service) = service_of(source) {
            without_selector(ctx, service)?;
        }
        for endpoint in items_mut(draft.pointer_mut("/endpoints")) {
            target_to_host(ctx, source.namespace(), endpoint);
        }
        Ok(draft)
    }

    fn patcher(&self) -> &dyn Patcher {
        self
    }
}

impl Patcher for EndpointSlice {
    fn managed(&self) -> &[String] {
        &SPEC.managed
    }

    /// The type of the addresses can never change.
    fn must_recreate(&self, desired: &HostObject, current: &HostObject) -> bool {
        desired.pointer("/addressType") != current.pointer("/addressType")
    }
}

/// Whether the slice controller made this from the selector of a Service.
pub fn is_made_by_controller<S>(slice: &Object<S>) -> bool {
    slice.label(MANAGED_BY) == Some(CONTROLLER)
}

fn service_of(source: &VirtualObject) -> Option<VirtualName> {
    let name = source.label(SERVICE_LABEL).filter(|name| !name.is_empty())?;
    Some(VirtualName::new(source.namespace(), name))
}
