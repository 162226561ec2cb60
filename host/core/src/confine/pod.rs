//! What a host pod may name, use and run as, whoever made it.

use serde_json::Value;

use super::places::{CONTAINERS, OUTSIDE_VOLUMES};
use super::{choices, items, refuse, security};
use crate::context::Ctx;
use crate::object::HostObject;
use crate::verdict::Verdict;

/// Volume sources that stay inside the pod or name objects in the reference table; `name` is no source but
/// stands beside it. Those of [`OUTSIDE_VOLUMES`] are known as well.
const INSIDE_VOLUMES: &[&str] = &[
    "configMap",
    "downwardAPI",
    "emptyDir",
    "image",
    "name",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Sources of a projected volume. Tokens are missing: a host token must never reach a tenant.
const PROJECTION_SOURCES: &[&str] = &["configMap", "downwardAPI", "secret"];
/// Where an environment variable may come from.
const ENV_SOURCES: &[&str] =
    &["configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"];
/// Where a set of environment variables may come from; `prefix` is no source but stands beside it.
const ENV_FROM_SOURCES: &[&str] = &["configMapRef", "prefix", "secretRef"];

/// What of the host a pod must not choose, and what would give it another account than ours.
const UNSET: &[&str] = &["priorityClassName", "priority", "preemptionPolicy", "serviceAccount", "overhead"];
/// The scheduler that every host has; the tenant's own are unknown there.
const SCHEDULER: &str = "default-scheduler";

/// Passes `pod` if it runs as what this virtual cluster's pods run as, chooses nothing of the host that tenants must
/// not choose, and gets nothing from sources that are not known here.
pub(super) fn judge(ctx: &Ctx<'_>, pod: &HostObject) -> Verdict<()> {
    runs_as(&ctx.facts.workload_service_account, pod)?;
    for field in ["resourceClaims", "workloadRef", "schedulingGroup"] {
        if pod.pointer(&format!("/spec/{field}")).is_some_and(|value| !is_empty(value)) {
            return Err(refuse(
                &format!("/spec/{field}"),
                "names an object that is not synced to the host".to_owned(),
            ));
        }
    }
    known_volumes(pod)?;
    for list in CONTAINERS {
        known_env(pod, list)?;
    }
    security::judge(ctx, pod)?;
    choices::judge(ctx, pod)
}

/// Passes a pod that runs as `account`, without a token of it, and leaves to the host what the host chooses.
fn runs_as(account: &str, pod: &HostObject) -> Verdict<()> {
    if pod.text("/spec/serviceAccountName") != Some(account) {
        return Err(refuse("/spec/serviceAccountName", format!("pods run as {account:?} on the host")));
    }
    for (field, why) in [
        ("automountServiceAccountToken", "must be false: a host token must not reach a tenant"),
        (
            "enableServiceLinks",
            "must be false: the variables would be those of Services of the host namespace",
        ),
    ] {
        if pod.pointer(&format!("/spec/{field}")) != Some(&Value::Bool(false)) {
            return Err(refuse(&format!("/spec/{field}"), why.to_owned()));
        }
    }
    let is_set = |field: &&&str| pod.pointer(&format!("/spec/{field}")).is_some_and(|value| !is_empty(value));
    if let Some(field) = UNSET.iter().find(is_set) {
        let why = "it is the host's to choose; remove it".to_owned();
        return Err(refuse(&format!("/spec/{field}"), why));
    }
    if pod.text("/spec/schedulerName").is_some_and(|name| name != SCHEDULER) {
        return Err(refuse(
            "/spec/schedulerName",
            format!("only {SCHEDULER:?} can be asked for on the host"),
        ));
    }
    Ok(())
}

fn known_volumes(pod: &HostObject) -> Verdict<()> {
    for (index, volume) in items(pod.pointer("/spec/volumes")).enumerate() {
        let path = format!("/spec/volumes/{index}");
        only(&path, volume, INSIDE_VOLUMES, OUTSIDE_VOLUMES)?;
        for (source_index, source) in items(volume.pointer("/projected/sources")).enumerate() {
            only(&format!("{path}/projected/sources/{source_index}"), source, PROJECTION_SOURCES, &[])?;
        }
    }
    Ok(())
}

fn known_env(pod: &HostObject, list: &str) -> Verdict<()> {
    for (index, container) in items(pod.pointer(list)).enumerate() {
        let path = format!("{list}/{index}");
        for (env_index, env) in items(container.get("env")).enumerate() {
            if let Some(source) = env.get("valueFrom") {
                only(&format!("{path}/env/{env_index}/valueFrom"), source, ENV_SOURCES, &[])?;
            }
        }
        for (env_index, source) in items(container.get("envFrom")).enumerate() {
            only(&format!("{path}/envFrom/{env_index}"), source, ENV_FROM_SOURCES, &[])?;
        }
    }
    Ok(())
}

/// Refuses every field of `value` that is in neither list.
fn only(path: &str, value: &Value, known: &[&str], more: &[&str]) -> Verdict<()> {
    let fields = value.as_object().into_iter().flatten();
    for (name, value) in fields {
        if !value.is_null() && !known.contains(&name.as_str()) && !more.contains(&name.as_str()) {
            return Err(refuse(
                &format!("{path}/{name}"),
                "this source is not known here and could name objects of others; use another one".to_owned(),
            ));
        }
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_str().is_some_and(str::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The field that a pod with this change of its spec is refused for.
    fn refused(change: &Value) -> Option<String> {
        let mut pod = json!({"spec": {
            "serviceAccountName": "workload", "automountServiceAccountToken": false, "enableServiceLinks": false,
        }});
        json_patch::merge(&mut pod, &json!({"spec": change}));
        let pod = HostObject::from_json(pod).unwrap();
        runs_as("workload", &pod).err().and_then(|hold| hold.problem().field.clone())
    }

    #[test]
    fn what_the_host_chooses_is_not_set() {
        assert_eq!(refused(&json!({"priorityClassName": "", "schedulerName": "default-scheduler"})), None);
        for (change, field) in [
            (json!({"priorityClassName": "system-node-critical"}), "spec.priorityClassName"),
            (json!({"priority": 0}), "spec.priority"),
            (json!({"preemptionPolicy": "Never"}), "spec.preemptionPolicy"),
            (json!({"serviceAccount": "weft"}), "spec.serviceAccount"),
            (json!({"overhead": {"cpu": "1"}}), "spec.overhead"),
            (json!({"serviceAccountName": "weft"}), "spec.serviceAccountName"),
            (json!({"schedulerName": "mine"}), "spec.schedulerName"),
            (json!({"enableServiceLinks": null}), "spec.enableServiceLinks"),
            (json!({"automountServiceAccountToken": true}), "spec.automountServiceAccountToken"),
        ] {
            assert_eq!(refused(&change).as_deref(), Some(field), "{change}");
        }
    }
}
