//! Kubernetes' strategic merge: lists whose elements have a key are merged element by element.

use serde_json::Value;

use super::kinds::Kind;
use super::object::fields;
use super::refusal::Refusal;

/// Lists that are merged, with the kind that has them and the key of their elements; other lists are replaced.
/// Source: the tags `patchMergeKey` in `k8s.io/api/core/v1/types.go`.
const KEYED: &[(&str, &str, &str)] = &[
    ("namespaces", "conditions", "type"),
    ("nodes", "addresses", "type"),
    ("nodes", "conditions", "type"),
    ("persistentvolumeclaims", "conditions", "type"),
    ("pods", "conditions", "type"),
    ("pods", "containers", "name"),
    ("pods", "env", "name"),
    ("pods", "ephemeralContainers", "name"),
    ("pods", "hostAliases", "ip"),
    ("pods", "hostIPs", "ip"),
    ("pods", "imagePullSecrets", "name"),
    ("pods", "initContainers", "name"),
    ("pods", "podIPs", "ip"),
    ("pods", "ports", "containerPort"),
    ("pods", "resourceClaims", "name"),
    ("pods", "schedulingGates", "name"),
    ("pods", "topologySpreadConstraints", "topologyKey"),
    ("pods", "volumeDevices", "devicePath"),
    ("pods", "volumeMounts", "mountPath"),
    ("pods", "volumes", "name"),
    ("serviceaccounts", "secrets", "name"),
    ("services", "conditions", "type"),
    ("services", "ports", "port"),
];

/// The key of the elements of a list, if they are merged.
fn key_of(list: &str, kind: &Kind) -> Option<&'static str> {
    let is_it = |(plural, name, _): &&(&str, &str, &str)| *plural == kind.plural && *name == list;
    match list {
        "ownerReferences" => Some("uid"),
        _ => KEYED.iter().find(is_it).map(|(_, _, key)| *key),
    }
}

/// Merges a patch into an object.
pub(super) fn merge(object: &mut Value, patch: &Value, kind: &Kind) -> Result<(), Refusal> {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => fields(object).clear(),
        Some("delete") => {
            fields(object).clear();
            return Ok(());
        }
        _ => {}
    }
    for (name, value) in patch.iter().filter(|(name, _)| *name != "$patch") {
        if name.starts_with('$') {
            return Err(Refusal::unmodelled(&format!("the directive {name}")));
        }
        field(object, name, value, kind)?;
    }
    Ok(())
}

fn field(object: &mut Value, name: &str, patch: &Value, kind: &Kind) -> Result<(), Refusal> {
    let fields = fields(object);
    match (patch, key_of(name, kind)) {
        (Value::Null, _) => drop(fields.remove(name)),
        (Value::Object(_), _) => merge(fields.entry(name).or_insert(Value::Null), patch, kind)?,
        (Value::Array(patches), Some(key)) => {
            let old = fields.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            fields.insert(name.to_owned(), merged(&old, patches, key, kind)?.into());
        }
        (Value::Array(patches), None) if name == "finalizers" => {
            let old = fields.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            let new = patches.iter().filter(|patch| !old.contains(patch)).cloned();
            let all = old.iter().cloned().chain(new).collect();
            fields.insert(name.to_owned(), ordered(all, patches, &old, |a, b| a == b).into());
        }
        _ => drop(fields.insert(name.to_owned(), patch.clone())),
    }
    Ok(())
}

/// A list whose elements have a key, with the patches of its elements.
fn merged(old: &[Value], patches: &[Value], key: &str, kind: &Kind) -> Result<Vec<Value>, Refusal> {
    let directive = |patch: &Value| patch.get("$patch").and_then(Value::as_str).map(str::to_owned);
    if patches.iter().any(|patch| directive(patch).as_deref() == Some("replace")) {
        return Ok(patches.iter().filter(|patch| directive(patch).is_none()).cloned().collect());
    }
    let mut list = old.to_vec();
    for patch in patches {
        let Some(id) = patch.get(key) else {
            return Err(Refusal::internal(format!("an element of the patch lacks its key {key}")));
        };
        let found = list.iter_mut().find(|element| element.get(key) == Some(id));
        match (directive(patch).as_deref(), found) {
            (Some("delete"), _) => list.retain(|element| element.get(key) != Some(id)),
            (_, Some(element)) => merge(element, patch, kind)?,
            (_, None) => {
                let mut element = Value::Null;
                merge(&mut element, patch, kind)?;
                list.push(element);
            }
        }
    }
    Ok(ordered(list, patches, old, |a, b| a.get(key) == b.get(key)))
}

/// The order of a merged list: what the patch names is in its order, the rest in the order before, and of two elements the one
/// of the patch comes first unless both were there in the other order.
/// Source: `mergeSortedSlice` in `k8s.io/apimachinery/pkg/util/strategicpatch/patch.go`.
fn ordered(
    list: Vec<Value>,
    patches: &[Value],
    old: &[Value],
    is_same: impl Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    let place = |element: &Value, all: &[Value]| all.iter().position(|other| is_same(other, element));
    let (mut named, rest): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|element| place(element, patches).is_some());
    named.sort_by_key(|element| place(element, patches));
    let mut named = named.into_iter().peekable();
    let mut all = Vec::new();
    for element in rest {
        let before = place(&element, old);
        while let Some(next) = named.next_if(|next| place(next, old).is_none_or(|next| Some(next) < before)) {
            all.push(next);
        }
        all.push(element);
    }
    all.extend(named);
    all
}
