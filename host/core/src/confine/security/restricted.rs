//! What the level `restricted` demands beyond `baseline`: current practice of hardening pods.

use serde_json::Value;

use super::{Allows, Control, Judged, Of, baseline};
use crate::confine::places;
use crate::policy::pods::OUTSIDE_VOLUMES;
use crate::verdict::Verdict;

/// Volumes of its own that the level allows, beside those that hold only what is the tenant's.
const CSI: &str = "csi";

const CAPABILITIES: Control = Control {
    of: Of::Containers,
    path: "/securityContext/capabilities/add/*",
    allows: Allows::OneOf(&["NET_BIND_SERVICE"]),
};
const USER: Control =
    Control { of: Of::PodAndContainers, path: "/securityContext/runAsUser", allows: Allows::NotZero };

pub(super) fn judge(judged: &Judged<'_>) -> Verdict<()> {
    volumes(judged)?;
    judged.keeps_to(&baseline::PROC_MOUNT)?;
    if !judged.has_user_namespace {
        judged.keeps_to(&USER)?;
        let is_true = |value: &Value| value == &Value::Bool(true);
        everywhere(judged, "/securityContext/runAsNonRoot", is_true, "must be true")?;
    }
    if judged.is_windows {
        return Ok(());
    }
    judged.keeps_to(&CAPABILITIES)?;
    gives_up_capabilities(judged)?;
    gains_no_privileges(judged)?;
    let is_profile = |value: &Value| value == "RuntimeDefault" || value == "Localhost";
    let demand = "must be RuntimeDefault or Localhost";
    everywhere(judged, "/securityContext/seccompProfile/type", is_profile, demand)
}

fn volumes(judged: &Judged<'_>) -> Verdict<()> {
    let mut refused = OUTSIDE_VOLUMES.iter().filter(|source| **source != CSI);
    refused.try_for_each(|source| {
        places::each(judged.pod, &format!("/spec/volumes/*/{source}"), &mut |at, volume| match volume {
            Some(_) => Err(judged.refusal(at, "must not be set")),
            None => Ok(()),
        })
    })
}

fn gains_no_privileges(judged: &Judged<'_>) -> Verdict<()> {
    let path = "/securityContext/allowPrivilegeEscalation";
    places::each_in_containers(judged.pod, path, &mut |at, value| match value {
        Some(Value::Bool(false)) => Ok(()),
        _ => Err(judged.refusal(at, "must be false")),
    })
}

fn gives_up_capabilities(judged: &Judged<'_>) -> Verdict<()> {
    let path = "/securityContext/capabilities/drop";
    places::each_in_containers(judged.pod, path, &mut |at, dropped| {
        let is_all = |dropped: &Value| dropped.as_array().is_some_and(|list| list.contains(&"ALL".into()));
        if dropped.is_some_and(is_all) { Ok(()) } else { Err(judged.refusal(at, "must include ALL")) }
    })
}

/// Demands a value of every container: its own or, where it has none, the pod's.
fn everywhere(judged: &Judged<'_>, path: &str, is_good: fn(&Value) -> bool, demand: &str) -> Verdict<()> {
    let mut of_pod = false;
    places::each(judged.pod, &format!("/spec{path}"), &mut |at, value| match value {
        Some(value) if !is_good(value) => Err(judged.refusal(at, demand)),
        value => {
            of_pod = value.is_some();
            Ok(())
        }
    })?;
    places::each_in_containers(judged.pod, path, &mut |at, value| {
        if value.map_or(of_pod, is_good) { Ok(()) } else { Err(judged.refusal(at, demand)) }
    })
}
