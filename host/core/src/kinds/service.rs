//! Service: the virtual server allocates its addresses, the host is asked for the same, and what the host allocates wins.

use std::sync::LazyLock;

use serde_json::Value;

use crate::change::Change;
use crate::conditions;
use crate::context::Ctx;
use crate::diff;
use crate::fields;
use crate::host_controllers::SERVICE_IMPORT_LABEL;
use crate::keys::DIGEST;
use crate::labels;
use crate::mapper::{Mapper, Patcher};
use crate::messages;
use crate::object::{Fields, HostObject, Object, VirtualName, VirtualObject};
use crate::references::Reference;
use crate::selectors::Selector;
use crate::spec::KindSpec;
use crate::verdict::{Hold, Verdict};

mod allocation;
mod moving;
mod replaced;
mod way_back;

pub use moving::{move_back, move_to, trial_of_move};

/// Managed fields that the host fills in, or clears with a change of type, where we say nothing.
const HOST_DEFAULTED: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "externalTrafficPolicy",
    "internalTrafficPolicy",
    "ipFamilyPolicy",
    // Webhooks of load balancer controllers set it, and it cannot be taken away again.
    "loadBalancerClass",
    "sessionAffinity",
    "type",
];

/// The mapper of Services.
#[derive(Debug)]
pub struct Service;

static SPEC: LazyLock<KindSpec> = LazyLock::new(|| {
    KindSpec::core("Service", "services")
        .references([Reference::in_label(SERVICE_IMPORT_LABEL)])
        .selectors([Selector::labels("/spec/selector")])
        .with_conditions()
        .managed([
            "/spec/type",
            "/spec/selector",
            "/spec/ports",
            "/spec/externalName",
            "/spec/externalIPs",
            "/spec/externalTrafficPolicy",
            "/spec/internalTrafficPolicy",
            "/spec/trafficDistribution",
            "/spec/sessionAffinity",
            "/spec/sessionAffinityConfig",
            "/spec/publishNotReadyAddresses",
            "/spec/ipFamilyPolicy",
            "/spec/loadBalancerIP",
            "/spec/loadBalancerClass",
            "/spec/loadBalancerSourceRanges",
            "/spec/allocateLoadBalancerNodePorts",
        ])
});

/// The conditions that the host's service controllers keep.
const OF_HOST: &[&str] = &["LoadBalancerPortsError"];

impl Mapper for Service {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        if is_api(&source.virtual_name()) {
            return Err(api_server());
        }
        if let Some(remembered) = moving::remembered(source) {
            moving::restore(draft.spec_mut(), remembered);
        }
        scope_selector(ctx, source.namespace(), draft.spec_mut());
        Ok(draft)
    }

    fn to_virtual(&self, ctx: &Ctx<'_>, source: &HostObject, mut draft: VirtualObject) -> VirtualObject {
        if let Some(remembered) = moving::remembered(&draft) {
            moving::restore(draft.spec_mut(), remembered);
        }
        moving::forget(&mut draft);
        // While a change of type is on its way to the host, the host shows what follows from the old type.
        if type_of(source) == type_of(&draft) {
            take_status(ctx, source, &mut draft);
            let own = draft.clone();
            allocation::take(source, &mut draft);
            replaced::report(ctx, &own, &draft);
        }
        draft
    }

    fn patcher(&self) -> &dyn Patcher {
        self
    }
}

impl Patcher for Service {
    fn managed(&self) -> &[String] {
        &SPEC.managed
    }

    fn host_changes(&self, desired: &HostObject, current: &HostObject) -> Vec<Change> {
        if allocation::switches_headless(desired, current) {
            return moving::host_changes(desired, current);
        }
        let mut wanted = desired.clone();
        for field in HOST_DEFAULTED {
            leave_to_host(field, wanted.spec_mut(), current);
        }
        // The tenant changed nothing, so other node ports are what the host allocated.
        if desired.annotation(DIGEST) == current.annotation(DIGEST) {
            allocation::keep_node_ports(&mut wanted, current);
        }
        let change = diff::managed(self.managed(), &wanted, current);
        allocation::ask(&wanted, current, change).into_iter().collect()
    }

    fn virtual_changes(&self, desired: &VirtualObject, current: &VirtualObject) -> Vec<Change> {
        moving::virtual_changes(desired, current)
    }

    fn virtual_trial(&self, desired: &VirtualObject, current: &VirtualObject) -> Option<VirtualObject> {
        moving::trial(desired, current)
    }

    fn relax_virtual(
        &self,
        desired: &VirtualObject,
        current: &VirtualObject,
        refused: &[String],
    ) -> Option<VirtualObject> {
        way_back::relax(desired, current, refused)
    }

    fn verb_on_virtual(&self) -> &'static str {
        way_back::MUST_AGREE
    }

    fn relax(&self, desired: &HostObject, refused: &[String]) -> Option<HostObject> {
        allocation::relax(desired, refused)
    }

    fn relax_unnamed(&self, desired: &HostObject) -> Option<HostObject> {
        allocation::relax_health_port(desired)
    }
}

/// Whether this is the virtual API server's own Service, which the engine moves to the address of the
/// virtual cluster's Service on the host.
pub(super) fn is_api(name: &VirtualName) -> bool {
    name.namespace == "default" && name.name == "kubernetes"
}

/// It stays in the virtual cluster.
pub(super) fn api_server() -> Hold {
    Hold::absent("it is the virtual API server's own")
}

fn scope_selector(ctx: &Ctx<'_>, namespace: &str, spec: &mut Fields) {
    if let Some(Value::Object(selector)) = spec.get_mut("selector")
        && !selector.is_empty()
    {
        *selector = labels::map_to_host(selector);
        selector.extend(labels::scope(ctx.names, namespace));
    }
}

fn type_of<S>(object: &Object<S>) -> &str {
    object.text("/spec/type").unwrap_or("ClusterIP")
}

fn take_status(ctx: &Ctx<'_>, source: &HostObject, draft: &mut VirtualObject) {
    if let Some(status) = source.pointer("/status").and_then(Value::as_object) {
        let mut shown = fields::shown_status(&SPEC.resource, status);
        messages::to_virtual(ctx, source, draft, &mut shown);
        conditions::keep_others(draft, &mut shown, OF_HOST);
        draft.fields_mut().insert("status".to_owned(), Value::Object(shown));
    }
}

fn leave_to_host(field: &str, wanted: &mut Fields, current: &HostObject) {
    if !wanted.contains_key(field)
        && let Some(value) = current.pointer(&format!("/spec/{field}"))
    {
        wanted.insert(field.to_owned(), value.clone());
    }
}
