//! Whether an object is what its controller should make of it.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::super::both::{at, name_of, text};

/// Fails unless the object is ready; kinds that nobody makes anything of always are.
pub(super) fn ensure(object: &Value) -> Result<()> {
    let is_ready = match text(object, "/kind") {
        "Deployment" => {
            ["replicas", "updatedReplicas", "readyReplicas"].iter().all(|count| is_wanted(object, count))
        }
        "StatefulSet" => ["replicas", "readyReplicas"].iter().all(|count| is_wanted(object, count)),
        "DaemonSet" => {
            let wanted = at(object, "/status/desiredNumberScheduled");
            wanted.as_u64() > Some(0) && at(object, "/status/numberReady") == wanted
        }
        "Job" => has(object, "Complete"),
        "CustomResourceDefinition" => has(object, "Established"),
        "Pod" => has(object, "Ready") || text(object, "/status/phase") == "Succeeded",
        "PersistentVolumeClaim" => text(object, "/status/phase") == "Bound",
        _ => return Ok(()),
    };
    ensure!(is_ready, "the {} {} is {}", text(object, "/kind"), name_of(object), at(object, "/status"));
    Ok(())
}

/// Whether a count of the status is the one that is wanted, by a controller that has seen the spec.
fn is_wanted(object: &Value, count: &str) -> bool {
    let wanted = at(object, "/spec/replicas");
    at(object, "/status/observedGeneration") == at(object, "/metadata/generation")
        && at(object, &format!("/status/{count}")) == wanted
}

fn has(object: &Value, condition: &str) -> bool {
    let conditions = at(object, "/status/conditions").as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
}
