//! What a host pod runs as, and under which scheduler, whoever made it.

use serde_json::Value;

use super::{choices, refuse, security};
use crate::context::Ctx;
use crate::object::HostObject;
use crate::verdict::Verdict;

/// The scheduler that every host has; the tenant's own are unknown there.
const SCHEDULER: &str = "default-scheduler";

/// Passes `pod` if it runs as what this virtual cluster's pods run as, and uses of the host what the operator allows. What it
/// must not have at all, the table of its fields says.
pub(super) fn judge(ctx: &Ctx<'_>, pod: &HostObject) -> Verdict<()> {
    runs_as(&ctx.facts.workload_service_account, pod)?;
    security::judge(ctx, pod)?;
    choices::judge(ctx, pod)
}

/// Passes a pod that runs as `account`, without a token of it, and under the scheduler of the host.
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
    if pod.text("/spec/schedulerName").is_some_and(|name| name != SCHEDULER) {
        return Err(refuse(
            "/spec/schedulerName",
            format!("only {SCHEDULER:?} can be asked for on the host"),
        ));
    }
    Ok(())
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
    fn a_pod_runs_as_the_account_of_the_virtual_cluster_and_under_the_scheduler_of_the_host() {
        assert_eq!(refused(&json!({"schedulerName": "default-scheduler"})), None);
        for (change, field) in [
            (json!({"serviceAccountName": "weft"}), "spec.serviceAccountName"),
            (json!({"schedulerName": "mine"}), "spec.schedulerName"),
            (json!({"enableServiceLinks": null}), "spec.enableServiceLinks"),
            (json!({"automountServiceAccountToken": true}), "spec.automountServiceAccountToken"),
        ] {
            assert_eq!(refused(&change).as_deref(), Some(field), "{change}");
        }
    }
}
