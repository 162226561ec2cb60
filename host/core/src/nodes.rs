//! What the virtual cluster shows of a node of the host.
//!
//! A closed world: what is not named here stays on the host. Among that are the machine's own identifiers and addresses, the
//! volumes and, by default, the images of every tenant, and conditions that others than the kubelet set, whose messages may
//! quote any process of the machine. [`patch`] brings a virtual node to it, and [`requests`] says what a pod takes of a node.

use serde_json::{Value, json};

use crate::keys::{APPLIED, DOMAIN, MIRRORED_LABEL};
use crate::kinds::pod::quantity;
use crate::object::{Fields, HostObject, VirtualObject};
use crate::policy::nodes::NodePolicy;
use crate::policy::patterns::Patterns;
use requests::Amounts;

pub mod patch;
pub mod requests;

/// Types of the conditions that the kubelet, or the node's network, sets.
const CONDITIONS: [&str; 5] =
    ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];
/// What is shown of each condition.
const OF_CONDITION: [&str; 6] =
    ["type", "status", "reason", "message", "lastHeartbeatTime", "lastTransitionTime"];
/// What is shown of the machine's software.
const NODE_INFO: [&str; 7] = [
    "architecture",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "operatingSystem",
    "osImage",
];
/// Identifiers of the machine, which the API requires and nobody inside needs.
const IDENTIFIERS: [&str; 3] = ["bootID", "machineID", "systemUUID"];

/// What stands on each node in the place of the host's kubelet.
#[derive(Debug, Clone, Default)]
pub struct Kubelet {
    /// Annotations about it.
    pub annotations: Fields,
    /// `status.addresses`.
    pub addresses: Value,
    /// `status.daemonEndpoints`.
    pub endpoints: Value,
    /// `status.declaredFeatures`: what it carries out, whatever the host's kubelet does.
    pub features: Value,
}

/// The virtual node that shows `host`, of which pods of others take `others`.
pub fn mirrored(
    policy: &NodePolicy,
    kubelet: &Kubelet,
    others: &Amounts,
    host: &HostObject,
) -> VirtualObject {
    let mut labels = shown(&policy.labels, host.labels());
    let mut annotations = shown(&policy.annotations, host.annotations());
    annotations.extend(kubelet.annotations.clone());
    let spec = spec(policy, host);
    let keys = |map: &Fields| map.keys().cloned().collect::<Vec<_>>();
    let applied = json!({"labels": keys(&labels), "annotations": keys(&annotations), "spec": spec});
    annotations.insert(APPLIED.to_owned(), applied.to_string().into());
    labels.insert(MIRRORED_LABEL.to_owned(), "true".into());
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": host.name(), "labels": labels, "annotations": annotations},
        "spec": spec,
        "status": status(policy, kubelet, others, host),
    });
    VirtualObject::new(node.as_object().cloned().unwrap_or_default())
}

/// The entries of a map that the policy shows; none of weft's own, which a host has that is a virtual cluster itself.
fn shown(keys: &Patterns, map: Option<&Fields>) -> Fields {
    let is_ours = |key: &str| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        domain.strip_suffix(DOMAIN).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let shown = map.into_iter().flatten().filter(|(key, _)| keys.has(key) && !is_ours(key));
    shown.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What keeps pods away from the host node. `NoExecute` becomes `NoSchedule`: the host evicts its pods by itself, and knows
/// tolerations that its admission gave them and that the tenant's pods lack.
fn spec(policy: &NodePolicy, host: &HostObject) -> Value {
    let mut taints: Vec<Value> = Vec::new();
    for taint in list(host, "/spec/taints").filter(|_| policy.taints) {
        let text = |field: &str| taint.get(field).and_then(Value::as_str).unwrap_or_default();
        let effect = if text("effect") == "NoExecute" { "NoSchedule" } else { text("effect") };
        let mut taint = json!({"key": text("key"), "effect": effect});
        if let Some(fields) = taint.as_object_mut().filter(|_| !text("value").is_empty()) {
            fields.insert("value".to_owned(), text("value").into());
        }
        // A key may have each effect once.
        let is_it =
            |known: &Value| ["key", "effect"].iter().all(|field| known.get(field) == taint.get(field));
        if !taints.iter().any(is_it) {
            taints.push(taint);
        }
    }
    let is_cordoned = policy.taints && host.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    if is_cordoned { json!({"taints": taints, "unschedulable": true}) } else { json!({"taints": taints}) }
}

fn status(policy: &NodePolicy, kubelet: &Kubelet, others: &Amounts, host: &HostObject) -> Value {
    let mut info = fields_of(host.pointer("/status/nodeInfo"), &NODE_INFO);
    info.extend(IDENTIFIERS.map(|field| (field.to_owned(), "".into())));
    let is_known = |condition: &&Value| {
        condition.get("type").and_then(Value::as_str).is_some_and(|kind| CONDITIONS.contains(&kind))
    };
    let conditions = list(host, "/status/conditions").filter(is_known);
    let conditions: Value = conditions.map(|condition| fields_of(Some(condition), &OF_CONDITION)).collect();
    let images: Value = list(host, "/status/images").filter(|_| policy.images).cloned().collect();
    json!({
        "capacity": host.pointer("/status/capacity").cloned().unwrap_or_else(|| json!({})),
        "allocatable": free(host, others),
        "conditions": conditions,
        "images": images,
        "nodeInfo": info,
        "addresses": kubelet.addresses,
        "daemonEndpoints": kubelet.endpoints,
        "declaredFeatures": kubelet.features,
    })
}

/// What `host` can give to pods, without what others have: never less than nothing.
fn free(host: &HostObject, others: &Amounts) -> Fields {
    let all = host.pointer("/status/allocatable").and_then(Value::as_object).into_iter().flatten();
    let free = |name: &str, amount: &Value| {
        let (taken, text) = (others.get(name)?, amount.as_str()?);
        let left = quantity::nanos(text)?.checked_sub(*taken)?.max(0);
        Some(Value::from(quantity::text(left, text.ends_with('i'))))
    };
    all.map(|(name, amount)| (name.clone(), free(name, amount).unwrap_or_else(|| amount.clone()))).collect()
}

fn fields_of(object: Option<&Value>, names: &[&str]) -> Fields {
    let field = |name: &&str| Some(((*name).to_owned(), object?.get(name)?.clone()));
    names.iter().filter_map(field).collect()
}

fn list<'a>(host: &'a HostObject, pointer: &str) -> impl Iterator<Item = &'a Value> {
    host.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
