//! EndpointSlice: those that people write, for Services without a selector or for none; controllers' are not copied.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::endpoints::{self, items_mut, service_key, target_to_host, without_selector};
use crate::context::Ctx;
use crate::mapper::{Mapper, Patcher};
use crate::object::{HostObject, Key, Object, VirtualName, VirtualObject};
use crate::spec::KindSpec;
use crate::verdict::Verdict;

/// Label: who writes the slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Label: the Service that the slice belongs to.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

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
        .managed(["/endpoints", "/ports"])
});

impl Mapper for EndpointSlice {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn targets(&self, source: &VirtualObject) -> BTreeSet<Key> {
        service_of(source).map(service_key).into_iter().collect()
    }

    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        // Both controllers run on the host as well, and make slices of their own there.
        if is_made_by_controller(source) || source.label(MANAGED_BY) == Some(MIRRORING_CONTROLLER) {
            return Err(endpoints::made_by_the_host());
        }
        if let Some(service) = service_of(source) {
            let host_name = ctx.names.host_name(&service);
            without_selector(ctx, service)?;
            draft.labels_mut().insert(SERVICE_LABEL.to_owned(), host_name.as_str().into());
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
