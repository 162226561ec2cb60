//! What a pod may do beyond running in its own box: no plugin may add to it.
//!
//! What the operator allows a tenant, `security` and `choices` judge, and the tenant's own API server has admitted it. Of
//! that a plugin may pass on what is there and may not add to it. The fields are those of the Pod Security Standards, and
//! those that choose where and as what a pod runs.

use serde_json::Value;

use super::places::{APPARMOR, CONTAINERS, PROBES, REQUESTS};
use crate::object::HostObject;
use crate::policy::pods::OUTSIDE_VOLUMES;

/// Fields of a pod that a plugin must leave as they are.
const POD: &[&str] = &[
    "/spec/securityContext",
    "/spec/hostNetwork",
    "/spec/hostPID",
    "/spec/hostIPC",
    "/spec/hostUsers",
    "/spec/shareProcessNamespace",
    "/spec/nodeName",
    "/spec/schedulerName",
    "/spec/runtimeClassName",
    "/spec/priorityClassName",
    "/spec/priority",
    "/spec/preemptionPolicy",
    "/spec/serviceAccount",
    "/spec/serviceAccountName",
    "/spec/overhead",
];
/// Fields of a container that a plugin must leave as they are, and must not set on one that it adds. A new
/// container may give up powers by its `securityContext`: see [`gives_up`].
const CONTAINER: &[&str] = &["securityContext", "volumeDevices"];
/// What says on which of the node's addresses a port is offered.
const NODE_PORT: [&str; 3] = ["hostPort", "hostIP", "protocol"];

/// The first field, as a pointer, in which `after` may do something that `before` may not.
pub(super) fn added(before: &HostObject, after: &HostObject) -> Option<String> {
    let changed = POD.iter().find(|field| before.pointer(field) != after.pointer(field));
    changed
        .map(|field| (*field).to_owned())
        .or_else(|| CONTAINERS.iter().find_map(|list| added_in_containers(list, before, after)))
        .or_else(|| added_in_volumes(before, after))
        .or_else(|| (profiles(before) != profiles(after)).then(|| "/metadata/annotations".to_owned()))
}

fn profiles(pod: &HostObject) -> Vec<(&String, &Value)> {
    pod.annotations().into_iter().flatten().filter(|(key, _)| key.starts_with(APPARMOR)).collect()
}

fn added_in_containers(list: &str, before: &HostObject, after: &HostObject) -> Option<String> {
    for (index, container) in items(after, list).enumerate() {
        let was = items(before, list).find(|was| was.get("name") == container.get("name"));
        for field in CONTAINER {
            let (old, new) = (was.and_then(|was| was.get(field)), container.get(field));
            if old != new && !(was.is_none() && *field == "securityContext" && new.is_some_and(gives_up)) {
                return Some(format!("{list}/{index}/{field}"));
            }
        }
        if let Some(port) = added_host_port(was, container) {
            return Some(format!("{list}/{index}/ports/{port}/hostPort"));
        }
        if let Some(request) = added_probe_host(was, container) {
            return Some(format!("{list}/{index}{request}/host"));
        }
    }
    None
}

/// Whether a `securityContext` only takes powers away.
fn gives_up(context: &Value) -> bool {
    let fields = context.as_object().into_iter().flatten();
    fields.into_iter().all(|(name, value)| match name.as_str() {
        "allowPrivilegeEscalation" | "privileged" => value == &Value::Bool(false),
        "runAsNonRoot" | "readOnlyRootFilesystem" => value == &Value::Bool(true),
        "runAsUser" | "runAsGroup" => value.as_i64().is_some_and(|id| id > 0),
        "capabilities" => value.as_object().is_some_and(|lists| lists.keys().all(|list| list == "drop")),
        "seccompProfile" => value.get("type").and_then(Value::as_str) == Some("RuntimeDefault"),
        _ => false,
    })
}

fn added_host_port(was: Option<&Value>, container: &Value) -> Option<usize> {
    let ports = |container: Option<&Value>| -> Vec<Value> {
        container
            .and_then(|container| container.get("ports"))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let place = |port: &Value| NODE_PORT.map(|field| port.get(field).cloned());
    let used: Vec<_> = ports(was).iter().map(place).collect();
    ports(Some(container))
        .iter()
        .position(|port| port.get("hostPort").is_some_and(|port| port != 0) && !used.contains(&place(port)))
}

/// The probe, as a pointer in the container, that goes to another host than before.
fn added_probe_host(was: Option<&Value>, container: &Value) -> Option<String> {
    let mut requests =
        PROBES.iter().flat_map(|probe| REQUESTS.iter().map(move |request| format!("{probe}/{request}")));
    requests.find(|request| {
        let host = |container: &Value| container.pointer(&format!("{request}/host")).cloned();
        host(container).is_some_and(|new| was.and_then(host) != Some(new))
    })
}

fn added_in_volumes(before: &HostObject, after: &HostObject) -> Option<String> {
    let list = "/spec/volumes";
    items(after, list).enumerate().find_map(|(index, volume)| {
        let is_new = |source: &&&str| {
            volume.get(**source).is_some_and(|value| {
                !items(before, list)
                    .any(|was| was.get("name") == volume.get("name") && was.get(**source) == Some(value))
            })
        };
        OUTSIDE_VOLUMES.iter().find(is_new).map(|source| format!("{list}/{index}/{source}"))
    })
}

fn items<'a>(object: &'a HostObject, list: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(list).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn added_by(change: &Value) -> Option<String> {
        let pod = json!({"spec": {
            "containers": [{"name": "a", "securityContext": {"runAsNonRoot": true}}],
            "volumes": [{"name": "v", "hostPath": {"path": "/data"}}],
        }});
        let mut changed = pod.clone();
        json_patch::merge(&mut changed, &json!({"spec": change}));
        added(&HostObject::from_json(pod).unwrap(), &HostObject::from_json(changed).unwrap())
    }

    #[test]
    fn what_the_tenant_has_stays_and_what_a_rule_adds_is_found() {
        assert_eq!(added_by(&json!({"terminationGracePeriodSeconds": 3})), None);
        assert_eq!(added_by(&json!({"hostNetwork": true})).as_deref(), Some("/spec/hostNetwork"));
        assert_eq!(added_by(&json!({"nodeName": "n"})).as_deref(), Some("/spec/nodeName"));
        let containers = json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]});
        assert_eq!(added_by(&containers).as_deref(), Some("/spec/containers/0/securityContext"));
        let port = json!({"containers": [{"name": "a", "securityContext": {"runAsNonRoot": true}, "ports": [{"containerPort": 1, "hostPort": 80}]}]});
        assert_eq!(added_by(&port).as_deref(), Some("/spec/containers/0/ports/0/hostPort"));
        let probe = json!({"containers": [{"name": "a", "securityContext": {"runAsNonRoot": true}, "livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}}]});
        assert_eq!(added_by(&probe).as_deref(), Some("/spec/containers/0/livenessProbe/httpGet/host"));
        let volume = json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]});
        assert_eq!(added_by(&volume).as_deref(), Some("/spec/volumes/0/hostPath"));
    }

    #[test]
    fn a_rule_may_add_a_container_that_has_no_powers() {
        let containers =
            |context: Value| json!({"initContainers": [{"name": "new", "securityContext": context}]});
        assert_eq!(
            added_by(&containers(json!({"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}}))),
            None
        );
        assert!(added_by(&containers(json!({"capabilities": {"add": ["SYS_ADMIN"]}}))).is_some());
        assert!(added_by(&containers(json!({"runAsUser": 0}))).is_some());
    }
}
