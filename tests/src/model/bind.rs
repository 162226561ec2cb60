//! Binds a pod to a node, as a scheduler does.

use serde_json::{Value, json};

use super::call::Call;
use super::object::{elements, map, text};
use super::refusal::Refusal;
use super::server::Server;
use super::storage::Key;

impl Server {
    pub(super) fn bind(&mut self, call: &Call) -> Result<Value, Refusal> {
        let old = self.current(call)?;
        let uid = text(&call.body, "/metadata/uid");
        if !uid.is_empty() && uid != text(&old, "/metadata/uid") {
            return Err(Refusal::conflict(call.kind, &call.name, "Precondition failed: UID"));
        }
        let conflict = |why: &str| Err(Refusal::binding(call.kind, &call.name, why));
        if old.pointer("/metadata/deletionTimestamp").is_some() {
            return conflict("the pod is being deleted, and cannot be assigned to a host");
        }
        if !text(&old, "/spec/nodeName").is_empty() {
            return conflict("the pod is already assigned to a node");
        }
        if !elements(&old, "/spec/schedulingGates").is_empty() {
            return conflict("the pod has scheduling gates");
        }
        let mut pod = Value::clone(&old);
        map(&mut pod, "spec").insert("nodeName".into(), text(&call.body, "/target/name").into());
        let is_other = |condition: &&Value| text(condition, "/type") != "PodScheduled";
        let mut conditions: Vec<Value> =
            elements(&pod, "/status/conditions").iter().filter(is_other).cloned().collect();
        let now = self.clock.timestamp(0);
        conditions.push(json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now, "lastProbeTime": null}));
        map(&mut pod, "status").insert("conditions".into(), conditions.into());
        self.store(call, Key::new(call.kind, &call.namespace, &call.name), pod);
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
    }
}
