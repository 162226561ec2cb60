//! Brings a virtual node to what it has to show of its host node, and leaves alone what the tenant added to it.
//!
//! Labels and annotations of the tenant's stay, and so do conditions of its own types. The spec is the host's: its scheduler
//! places the pods, and knows nothing of a virtual node's taints.

use serde_json::{Value, json};

use crate::change::Change;
use crate::diff::exact;
use crate::keys::{APPLIED, FAKE_NODE_LABEL};
use crate::object::{Fields, VirtualObject};

/// What of the status is compared. Features are declared once, at the creation: an older server has no such field.
const STATUS: [&str; 6] = ["capacity", "allocatable", "images", "nodeInfo", "addresses", "daemonEndpoints"];
/// The taint that admission puts on every new node until a controller has initialised it; none initialises ours.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The patches that bring `node`, one of ours, to `wanted`.
pub fn changes(node: &VirtualObject, wanted: &VirtualObject) -> Vec<Change> {
    let mut main = Fields::new();
    let metadata = metadata(node, wanted);
    if !metadata.is_empty() {
        main.insert("metadata".into(), metadata.into());
    }
    let want = wanted.pointer("/spec").unwrap_or(&Value::Null);
    if !is_spec(node, want) {
        let field = |name: &str| want.get(name).cloned().unwrap_or_default();
        main.insert(
            "spec".into(),
            json!({"taints": field("taints"), "unschedulable": field("unschedulable")}),
        );
    }
    let main = (!main.is_empty()).then(|| Change::merge(Value::Object(main)));
    let status = status(node, wanted);
    let status = (!status.is_empty()).then(|| Change::merge_in("status", json!({"status": status})));
    main.into_iter().chain(status).collect()
}

/// Whether somebody else than the host and admission has tainted the node, or cordoned it.
pub fn is_changed_by_others(node: &VirtualObject) -> bool {
    let applied = applied(node);
    let have = taints(node.pointer("/spec"));
    let ours = taints(applied.get("spec"));
    let is_foreign = |taint: &&Fields| {
        taint.get("key").and_then(Value::as_str) != Some(NOT_READY) && !ours.contains(taint)
    };
    have.iter().any(|taint| is_foreign(&taint))
        || is_cordoned(node.pointer("/spec")) != is_cordoned(applied.get("spec"))
}

fn metadata(node: &VirtualObject, wanted: &VirtualObject) -> Fields {
    let applied = applied(node);
    let mut labels = map_patch(wanted.labels(), node.labels(), applied.get("labels"));
    if node.label(FAKE_NODE_LABEL).is_some() {
        labels.insert(FAKE_NODE_LABEL.to_owned(), Value::Null);
    }
    let annotations = map_patch(wanted.annotations(), node.annotations(), applied.get("annotations"));
    let maps = [("labels", labels), ("annotations", annotations)].into_iter();
    maps.filter(|(_, map)| !map.is_empty()).map(|(name, map)| (name.to_owned(), map.into())).collect()
}

/// The patch of a map: keys that were applied and are no longer wanted go, those of the tenant stay.
fn map_patch(wanted: Option<&Fields>, current: Option<&Fields>, applied: Option<&Value>) -> Fields {
    let has = |map: Option<&Fields>, key: &str| map.is_some_and(|map| map.contains_key(key));
    let before = applied.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let gone = before.filter(|key| !has(wanted, key) && has(current, key));
    let gone = gone.map(|key| (key.to_owned(), Value::Null));
    let is_new = |key: &str, value: &Value| current.and_then(|map| map.get(key)) != Some(value);
    let new = wanted.into_iter().flatten().filter(|(key, value)| is_new(key, value));
    gone.chain(new.map(|(key, value)| (key.clone(), value.clone()))).collect()
}

/// What was applied to the node last, as it says itself.
fn applied(node: &VirtualObject) -> Value {
    node.annotation(APPLIED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn is_spec(node: &VirtualObject, want: &Value) -> bool {
    let have = node.pointer("/spec");
    taints(have) == taints(Some(want)) && is_cordoned(have) == is_cordoned(Some(want))
}

/// The taints without their times, which are the server's.
fn taints(spec: Option<&Value>) -> Vec<Fields> {
    let taints = spec.and_then(|spec| spec.get("taints")).and_then(Value::as_array).into_iter().flatten();
    let untimed = |taint: &Fields| {
        let fields = taint.iter().filter(|(name, _)| *name != "timeAdded");
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    taints.filter_map(Value::as_object).map(untimed).collect()
}

fn is_cordoned(spec: Option<&Value>) -> bool {
    spec.and_then(|spec| spec.get("unschedulable")) == Some(&Value::Bool(true))
}

fn status(node: &VirtualObject, wanted: &VirtualObject) -> Fields {
    let at = |object: &VirtualObject, field: &str| object.pointer(&format!("/status/{field}")).cloned();
    let mut patch: Fields = STATUS
        .iter()
        .filter_map(|field| {
            let (have, want) = (at(node, field), at(wanted, field));
            let are_empty = is_empty(have.as_ref()) && is_empty(want.as_ref());
            exact(have.as_ref(), want.as_ref())
                .filter(|_| !are_empty)
                .map(|change| ((*field).to_owned(), change))
        })
        .collect();
    let (have, want) = (at(node, "conditions").unwrap_or_default(), conditions(node, wanted));
    if have != want {
        patch.insert("conditions".into(), want);
    }
    patch
}

/// The wanted conditions, and those that the tenant's own programs have set.
fn conditions(node: &VirtualObject, wanted: &VirtualObject) -> Value {
    let of = |object: &VirtualObject| {
        object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let mut all = of(wanted);
    let is_known = |condition: &Value| {
        condition.get("type").and_then(Value::as_str).is_some_and(|kind| super::CONDITIONS.contains(&kind))
    };
    all.extend(of(node).into_iter().filter(|condition| !is_known(condition)));
    all.into()
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}
