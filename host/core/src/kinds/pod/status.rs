//! Says what of a host pod's status the tenant sees, and which of its conditions the host must know.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{SPEC, hosts_file, messages, parts};
use crate::change::Change;
use crate::conditions;
use crate::context::{Ctx, Version};
use crate::fields;
use crate::object::{Fields, HostObject, Key, VirtualObject};

/// From this version on the API knows `observedGeneration` in a pod's status.
const OBSERVED_GENERATION_SINCE: Version = Version { major: 1, minor: 34 };
/// The lists of container statuses and the lists of containers that they are for.
const CONTAINER_STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];
/// The conditions that a kubelet keeps, and no other client: of these what the host shows is all there is.
const OF_KUBELET: [&str; 8] = [
    "PodScheduled",
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
];
/// What makes a condition another one, rather than the same one repeated.
const CONDITION_CONTENT: [&str; 4] = ["type", "status", "reason", "message"];

/// The status of the virtual pod `current`, given its host pod; `None` while the host has nothing to say.
pub(super) fn to_virtual(
    ctx: &Ctx<'_>,
    targets: &BTreeSet<Key>,
    host: &HostObject,
    current: &VirtualObject,
) -> Option<Fields> {
    let status = host.pointer("/status")?.as_object().filter(|status| says_something(status))?;
    let mut status = fields::shown_status(&SPEC.resource, status);
    copy_or_remove(current.pointer("/status/qosClass"), &mut status, "qosClass");
    for (statuses, containers) in CONTAINER_STATUSES {
        if let Some(Value::Array(statuses)) = status.get_mut(statuses) {
            hide_added_containers(current, containers, statuses);
        }
    }
    hide_node_address(host, &mut status);
    hosts_file::explain(host, &mut status);
    messages::to_virtual(ctx, targets, host, current, &mut status);
    merge_conditions(host, current, &mut status);
    count_generations_virtually(ctx, host, current, &mut status);
    Some(status)
}

/// The address that a virtual node stands for in the virtual cluster: the same for the same name. It lies
/// in 198.18.0.0/15, which RFC 2544 keeps for benchmarks and nobody routes, so that it shows nothing of
/// the host's network and reaches nothing. Two nodes can have the same one.
pub fn node_address(node: &str) -> Ipv4Addr {
    /// The addresses of a /15, without the first and the last.
    const ADDRESSES: u32 = (1 << 17) - 2;
    let digest = Sha256::digest(node.as_bytes());
    let number = digest.iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + 1 + number % ADDRESSES)
}

/// The patch that makes the tenant's readiness gates known to the host, whose kubelet decides about Ready.
pub(super) fn gates_to_host(source: &VirtualObject, host: &HostObject) -> Option<Change> {
    let patch: Vec<Value> =
        gates(source).into_iter().filter_map(|gate| gate_patch(source, host, gate)).collect();
    (!patch.is_empty()).then(|| Change::strategic(Some("status"), json!({"status": {"conditions": patch}})))
}

/// A host pod that neither scheduler nor kubelet has taken up has nothing but its phase.
fn says_something(status: &Fields) -> bool {
    let has_items =
        |name: &str| status.get(name).and_then(Value::as_array).is_some_and(|items| !items.is_empty());
    let phase = status.get("phase").and_then(Value::as_str).unwrap_or("Pending");
    phase != "Pending"
        || has_items("conditions")
        || has_items("containerStatuses")
        || status.contains_key("reason")
}

/// Containers that the host added are none of the tenant's.
fn hide_added_containers(current: &VirtualObject, containers: &str, statuses: &mut Vec<Value>) {
    let pointer = format!("/spec/{containers}");
    statuses.retain(|status| {
        parts::find(parts::items(current, &pointer), "name", parts::text(status, "name")).is_some()
    });
}

fn hide_node_address(host: &HostObject, status: &mut Fields) {
    let address = node_address(host.text("/spec/nodeName").unwrap_or_default()).to_string();
    if status.contains_key("hostIPs") {
        status.insert("hostIPs".into(), json!([{"ip": address}]));
    }
    if status.contains_key("hostIP") {
        status.insert("hostIP".into(), address.into());
    }
}

/// The host's conditions, with the virtual cluster's times where nothing changed, then those that others than a kubelet
/// have set in the virtual cluster: the tenant's gates, and such as `DisruptionTarget` of an eviction.
fn merge_conditions(host: &HostObject, current: &VirtualObject, status: &mut Fields) {
    let gates = gates(current);
    let is_gate = |condition: &Value| gates.contains(parts::text(condition, "type"));
    let mut merged = Vec::new();
    for condition in
        status.get("conditions").and_then(Value::as_array).into_iter().flatten().filter(|c| !is_gate(c))
    {
        let mut condition = condition.clone();
        let known = condition_of(current.pointer("/status/conditions"), parts::text(&condition, "type"));
        count_condition_virtually(host, current, known, &mut condition);
        if let Some(known) = known.filter(|known| is_same_condition(known, &condition))
            && let Some(fields) = condition.as_object_mut()
        {
            for time in ["lastTransitionTime", "lastProbeTime"] {
                copy_or_remove(known.get(time), fields, time);
            }
        }
        merged.push(condition);
    }
    status.insert("conditions".into(), Value::Array(merged));
    let of_host: Vec<&str> = OF_KUBELET.into_iter().filter(|kind| !gates.contains(kind)).collect();
    conditions::keep_others(current, status, &of_host);
}

/// A condition's `observedGeneration` in the virtual pod's numbers.
fn count_condition_virtually(
    host: &HostObject,
    current: &VirtualObject,
    known: Option<&Value>,
    condition: &mut Value,
) {
    let observed = condition.get("observedGeneration").and_then(Value::as_i64);
    let kept = known.and_then(|known| known.get("observedGeneration")).cloned();
    let value =
        if is_up_to_date(host, current, observed) { current.generation().map(Value::from) } else { kept };
    if let Some(fields) = condition.as_object_mut() {
        copy_or_remove(value.as_ref(), fields, "observedGeneration");
    }
}

/// The status' `observedGeneration` in the virtual pod's numbers; none at all for a server that has none.
fn count_generations_virtually(
    ctx: &Ctx<'_>,
    host: &HostObject,
    current: &VirtualObject,
    status: &mut Fields,
) {
    if ctx.facts.virtual_version < OBSERVED_GENERATION_SINCE {
        status.remove("observedGeneration");
        for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            condition.as_object_mut().map(|fields| fields.remove("observedGeneration"));
        }
        return;
    }
    let observed = status.get("observedGeneration").and_then(Value::as_i64);
    let kept = current.pointer("/status/observedGeneration").cloned();
    let value =
        if is_up_to_date(host, current, observed) { current.generation().map(Value::from) } else { kept };
    copy_or_remove(value.as_ref(), status, "observedGeneration");
}

/// Whether the host's kubelet has observed the host pod as it is now, and of what the tenant wants now: a
/// deletion counts as a change, and reaches the host a moment later.
fn is_up_to_date(host: &HostObject, current: &VirtualObject, observed: Option<i64>) -> bool {
    let knows_of_deletion = host.is_terminating() || !current.is_terminating();
    knows_of_deletion
        && observed.zip(host.generation()).is_some_and(|(observed, generation)| observed >= generation)
}

/// The patch element for one gate, if the host knows it otherwise.
fn gate_patch(source: &VirtualObject, host: &HostObject, gate: &str) -> Option<Value> {
    let sent = condition_of(host.pointer("/status/conditions"), gate);
    match condition_of(source.pointer("/status/conditions"), gate) {
        Some(condition) if sent.is_some_and(|sent| is_same_condition(condition, sent)) => None,
        Some(condition) => {
            let mut fields = condition.as_object()?.clone();
            // Counts the virtual pod's changes, not the host pod's.
            fields.remove("observedGeneration");
            for field in CONDITION_CONTENT {
                // Conditions are merged field by field, so what is gone has to be set to null.
                fields.entry(field).or_insert(Value::Null);
            }
            Some(Value::Object(fields))
        }
        None => sent.map(|_| json!({"type": gate, "$patch": "delete"})),
    }
}

/// The condition types that the tenant declared as its own.
fn gates(pod: &VirtualObject) -> BTreeSet<&str> {
    parts::items(pod, "/spec/readinessGates").map(|gate| parts::text(gate, "conditionType")).collect()
}

fn condition_of<'a>(conditions: Option<&'a Value>, kind: &str) -> Option<&'a Value> {
    parts::find(conditions.and_then(Value::as_array).into_iter().flatten(), "type", kind)
}

fn is_same_condition(one: &Value, other: &Value) -> bool {
    CONDITION_CONTENT.iter().all(|field| parts::text(one, field) == parts::text(other, field))
}

fn copy_or_remove(value: Option<&Value>, fields: &mut Fields, name: &str) {
    match value {
        Some(value) => fields.insert(name.to_owned(), value.clone()),
        None => fields.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{World, host_object, virtual_object};
    use super::*;

    fn pod(status: &Value) -> VirtualObject {
        let spec = json!({"readinessGates": [{"conditionType": "lb"}], "containers": [{"name": "web"}]});
        let metadata = json!({"name": "web", "namespace": "shop", "uid": "u1", "generation": 7});
        let mut pod = virtual_object(json!({"metadata": metadata, "spec": spec}));
        pod.fields_mut().insert("status".into(), status.clone());
        pod
    }

    fn host(status: &Value) -> HostObject {
        let metadata =
            json!({"name": "web-x-shop-x-vc", "namespace": "team-a", "uid": "h1", "generation": 2});
        let mut host = host_object(json!({"metadata": metadata, "spec": {"nodeName": "node-a"}}));
        host.fields_mut().insert("status".into(), status.clone());
        host
    }

    fn condition(kind: &str, status: &str, time: &str) -> Value {
        json!({"type": kind, "status": status, "lastTransitionTime": time, "lastProbeTime": null})
    }

    fn back(world: &World, host: &HostObject, current: &VirtualObject) -> Option<Value> {
        to_virtual(&world.ctx(), &BTreeSet::new(), host, current).map(Value::Object)
    }

    #[test]
    fn a_second_translation_changes_nothing() {
        let world = World::new();
        let host = host(&json!({
            "phase": "Running", "observedGeneration": 2, "hostIP": "192.168.0.1", "message": "of web-x-shop-x-vc",
            "conditions": [condition("Ready", "True", "1"), condition("lb", "True", "1")],
            "containerStatuses": [{"name": "web"}, {"name": "mesh"}],
        }));
        let mut current =
            pod(&json!({"qosClass": "Burstable", "conditions": [condition("lb", "False", "2")]}));
        let first = back(&world, &host, &current).unwrap();
        current.fields_mut().insert("status".into(), first.clone());
        assert_eq!(back(&world, &host, &current), Some(first));
    }

    #[test]
    fn a_host_pod_that_nobody_has_taken_up_has_no_status() {
        let world = World::new();
        let current =
            pod(&json!({"phase": "Pending", "conditions": [condition("PodScheduled", "False", "1")]}));
        for status in [json!({}), json!({"phase": "Pending", "qosClass": "Guaranteed"})] {
            assert_eq!(back(&world, &host(&status), &current), None);
        }
    }

    #[test]
    fn times_change_only_with_what_they_are_of() {
        let world = World::new();
        let host = host(
            &json!({"conditions": [condition("PodScheduled", "True", "5"), condition("Ready", "True", "5")]}),
        );
        let conditions = json!([condition("PodScheduled", "True", "1"), condition("Ready", "False", "1")]);
        let status = back(&world, &host, &pod(&json!({"conditions": conditions}))).unwrap();
        assert_eq!(status["conditions"][0]["lastTransitionTime"], "1");
        assert_eq!(status["conditions"][1]["lastTransitionTime"], "5");
    }

    #[test]
    fn generations_are_counted_in_the_virtual_pods_numbers() {
        let mut world = World::new();
        let current = pod(&json!({"observedGeneration": 6}));
        let shown = |observed: i64| host(&json!({"phase": "Running", "observedGeneration": observed}));
        assert_eq!(back(&world, &shown(2), &current).unwrap()["observedGeneration"], 7);
        assert_eq!(back(&world, &shown(1), &current).unwrap()["observedGeneration"], 6);
        world.facts.virtual_version.minor = 33;
        assert_eq!(back(&world, &shown(2), &current).unwrap().get("observedGeneration"), None);
    }

    #[test]
    fn a_gate_is_sent_to_the_host_when_it_differs() {
        let host = host(&json!({"conditions": [{"type": "lb", "status": "False", "message": "draining"}]}));
        let change =
            gates_to_host(&pod(&json!({"conditions": [{"type": "lb", "status": "True"}]})), &host).unwrap();
        let expected = json!({"type": "lb", "status": "True", "reason": null, "message": null});
        assert_eq!(
            (change.subresource, change.body),
            (Some("status"), json!({"status": {"conditions": [expected]}}))
        );
    }

    #[test]
    fn a_gate_that_is_the_same_or_no_gate_is_not_sent() {
        let status =
            json!({"conditions": [{"type": "lb", "status": "True"}, {"type": "Ready", "status": "False"}]});
        let host =
            host(&json!({"conditions": [{"type": "lb", "status": "True", "lastTransitionTime": "1"}]}));
        assert_eq!(gates_to_host(&pod(&status), &host), None);
    }

    #[test]
    fn what_others_have_set_stays_and_what_a_kubelet_sets_goes_with_the_hosts() {
        let world = World::new();
        let host = host(&json!({"phase": "Running", "conditions": [condition("Ready", "True", "1")]}));
        let others = ["DisruptionTarget", "example.com/seen", "lb"].map(|kind| condition(kind, "True", "2"));
        let mut before = others.to_vec();
        before.extend(["Ready", "PodResizePending"].map(|kind| condition(kind, "True", "1")));
        let status = back(&world, &host, &pod(&json!({"conditions": before}))).unwrap();
        let mut expected = vec![condition("Ready", "True", "1")];
        expected.extend(others);
        assert_eq!(status["conditions"], Value::Array(expected));
    }

    #[test]
    fn of_a_condition_that_both_have_the_hosts_is_shown() {
        let world = World::new();
        let host =
            host(&json!({"phase": "Failed", "conditions": [condition("DisruptionTarget", "True", "1")]}));
        let current = pod(&json!({"conditions": [condition("DisruptionTarget", "False", "2")]}));
        let status = back(&world, &host, &current).unwrap();
        assert_eq!(status["conditions"], json!([condition("DisruptionTarget", "True", "1")]));
    }

    #[test]
    fn a_gate_that_the_tenant_took_back_goes() {
        let host = host(&json!({"conditions": [{"type": "lb", "status": "True"}]}));
        let change = gates_to_host(&pod(&json!({})), &host).unwrap();
        assert_eq!(change.body["status"]["conditions"], json!([{"type": "lb", "$patch": "delete"}]));
    }

    #[test]
    fn a_nodes_address_is_the_same_each_time_and_in_the_benchmark_range() {
        for node in ["", "node-a", "node-b"] {
            let octets = node_address(node).octets();
            assert!(octets[0] == 198 && (octets[1] == 18 || octets[1] == 19), "{octets:?}");
        }
        assert_eq!(node_address("node-a"), node_address("node-a"));
        assert_ne!(node_address("node-a"), node_address("node-b"));
    }
}
