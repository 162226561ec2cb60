//! Keeps the tenant's scheduling wishes inside its own cluster: what it may ask of the host's scheduler.

use serde_json::Value;

use super::{affinity, parts};
use crate::context::Ctx;
use crate::object::{Fields, HostObject, Key, Kind, VirtualObject};
use crate::verdict::{By, Hold, Verdict};

const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// A gated pod has nothing to do on the host, and there its directives could no longer be changed as freely.
/// So gates on host pods are the host's own, which a tenant must not be able to lift.
pub(super) fn wait_for_gates(source: &VirtualObject) -> Verdict<()> {
    if parts::items(source, "/spec/schedulingGates").next().is_none() {
        return Ok(());
    }
    let key = Key { kind: Kind::new("v1/Pod"), name: source.virtual_name() };
    Err(Hold::wait(key, "the pod's scheduling gates are not lifted yet"))
}

/// Claims name devices through objects that only the virtual cluster has.
pub(super) fn refuse_claims(source: &VirtualObject) -> Verdict<()> {
    if parts::items(source, "/spec/resourceClaims").next().is_none() {
        return Ok(());
    }
    let why = "resource claims are not synced to the host; ask for the device in resources.limits instead";
    Err(Hold::refuse(By::Mapper, "spec.resourceClaims", why))
}

/// Drops what would name things of the host, and scopes every selector.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    drop_host_choices(draft.spec_mut());
    affinity::apply(ctx, source, draft)?;
    for constraint in parts::objects_mut(draft, "/spec/topologySpreadConstraints") {
        affinity::scope_spread(ctx, source, constraint);
    }
    Ok(())
}

/// Priority classes and schedulers of the host are not the tenant's to choose, and its own are unknown there. The same
/// holds for what takes care of evictions (KEP-4563): the host would wait for it, 20 minutes each time.
fn drop_host_choices(spec: &mut Fields) {
    for field in ["priorityClassName", "priority", "preemptionPolicy", "evictionResponders"] {
        spec.remove(field);
    }
    if spec.get("schedulerName").and_then(Value::as_str) != Some(DEFAULT_SCHEDULER) {
        spec.remove("schedulerName");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: &Value) -> VirtualObject {
        VirtualObject::from_json(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn a_gated_pod_waits_for_itself() {
        let held = wait_for_gates(&pod(&json!({"schedulingGates": [{"name": "example.com/quota"}]})));
        let Err(Hold::Wait(wait)) = held else { panic!("{held:?}") };
        assert_eq!(wait.until.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Pod shop/web"]);
        assert_eq!(wait_for_gates(&pod(&json!({"schedulingGates": []}))), Ok(()));
    }

    #[test]
    fn a_resource_claim_is_refused_with_its_field() {
        let held = refuse_claims(&pod(&json!({"resourceClaims": [{"name": "gpu"}]})));
        assert!(
            matches!(held, Err(Hold::Reject(problem)) if problem.field.as_deref() == Some("spec.resourceClaims"))
        );
    }

    #[test]
    fn the_host_chooses_priority_scheduler_and_how_to_evict() {
        let mut spec = Fields::new();
        for (field, value) in [
            ("priority", json!(7)),
            ("preemptionPolicy", json!("Never")),
            ("schedulerName", json!("mine")),
            ("evictionResponders", json!([{"name": "example.com/move", "priority": 100_000}])),
        ] {
            spec.insert(field.into(), value);
        }
        drop_host_choices(&mut spec);
        assert!(spec.is_empty());
        spec.insert("schedulerName".into(), DEFAULT_SCHEDULER.into());
        drop_host_choices(&mut spec);
        assert_eq!(spec["schedulerName"], DEFAULT_SCHEDULER);
    }
}
