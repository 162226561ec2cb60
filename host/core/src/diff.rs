//! Compares objects by their managed fields and says what to patch.

use serde_json::{Value, json};

use crate::change::Change;
use crate::keys::DIGEST;
use crate::object::{Fields, HostObject, VirtualObject};

/// The RFC 7386 patch that brings the managed fields of `current` to `desired`, if they differ.
///
/// What `desired` has must be there. What it leaves open inside a managed list is left alone, because the host
/// may have defaulted it; unless `desired` differs from what was written last: the tenant may have removed just
/// that, so the whole list is sent once more.
pub fn managed(managed: &[String], desired: &HostObject, current: &HostObject) -> Option<Change> {
    let was_written = desired.annotation(DIGEST) == current.annotation(DIGEST);
    let mut patch = Value::Null;
    for path in managed {
        match (desired.pointer(path), current.pointer(path)) {
            (Some(want), Some(have)) => {
                if let Some(change) = merge_patch(want, have, was_written) {
                    place(&mut patch, path, change);
                }
            }
            (Some(want), None) if !is_empty(want) => place(&mut patch, path, want.clone()),
            (None, Some(have)) if !is_empty(have) => place(&mut patch, path, Value::Null),
            _ => {}
        }
    }
    (!patch.is_null()).then(|| Change::merge(patch))
}

/// The managed fields of `object` alone, to take a digest of.
pub fn view(managed: &[String], object: &HostObject) -> Value {
    managed
        .iter()
        .filter_map(|path| Some((path.clone(), object.pointer(path)?.clone())))
        .collect::<Fields>()
        .into()
}

/// The patch of one managed value: fields that `want` lacks are removed; lists are replaced unless they
/// are equal or, if `was_written`, each element of `want` is contained in the one of `have` at its place.
fn merge_patch(want: &Value, have: &Value, was_written: bool) -> Option<Value> {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => {
            let mut patch = Fields::new();
            for (name, value) in want {
                match have.get(name) {
                    Some(old) => {
                        if let Some(change) = merge_patch(value, old, was_written) {
                            patch.insert(name.clone(), change);
                        }
                    }
                    None if !is_empty(value) => {
                        patch.insert(name.clone(), value.clone());
                    }
                    None => {}
                }
            }
            for name in have.keys().filter(|name| !want.contains_key(*name)) {
                patch.insert(name.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ if want == have || (was_written && contains(have, want)) => None,
        _ => Some(want.clone()),
    }
}

/// Whether `have` contains everything in `want`; objects may have more fields, lists have the same length.
pub fn contains(have: &Value, want: &Value) -> bool {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => want
            .iter()
            .all(|(name, value)| have.get(name).map_or_else(|| is_empty(value), |old| contains(old, value))),
        (Value::Array(have), Value::Array(want)) => {
            have.len() == want.len() && have.iter().zip(want).all(|(have, want)| contains(have, want))
        }
        _ => have == want,
    }
}

/// The exact RFC 7386 patch from `from` to `to`; `None` when they are equal.
pub fn exact(from: Option<&Value>, to: Option<&Value>) -> Option<Value> {
    match (from, to) {
        (Some(Value::Object(from)), Some(Value::Object(to))) => {
            let mut patch = Fields::new();
            for name in from.keys().chain(to.keys().filter(|name| !from.contains_key(*name))) {
                if let Some(change) = exact(from.get(name), to.get(name)) {
                    patch.insert(name.clone(), change);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (from, to) if from == to => None,
        (_, to) => Some(to.cloned().unwrap_or(Value::Null)),
    }
}

/// The RFC 7386 patch of the object's own fields and of its status that brings `current` to `desired`.
pub fn exact_changes(desired: &VirtualObject, current: &VirtualObject) -> Vec<Change> {
    let (from, to) = (current.fields(), desired.fields());
    let fields = from
        .keys()
        .chain(to.keys().filter(|name| !from.contains_key(*name)))
        .filter(|name| *name != "status");
    let main: Fields =
        fields.filter_map(|name| Some((name.clone(), exact(from.get(name), to.get(name))?))).collect();
    let main = (!main.is_empty()).then(|| Change::merge(Value::Object(main)));
    let status = exact(current.pointer("/status"), desired.pointer("/status"))
        .map(|patch| Change::merge_in("status", json!({"status": patch})));
    main.into_iter().chain(status).collect()
}

/// Whether the API treats the value like a missing one.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Puts `value` at the pointer `pointer` of a nested patch.
fn place(patch: &mut Value, pointer: &str, value: Value) {
    let mut slot = patch;
    for segment in pointer.split('/').skip(1) {
        if !slot.is_object() {
            *slot = json!({});
        }
        let Value::Object(fields) = slot else { return };
        slot = fields.entry(segment).or_insert(Value::Null);
    }
    *slot = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(json: Value) -> HostObject {
        HostObject::from_json(json).unwrap()
    }

    #[test]
    fn what_the_host_defaulted_stays() {
        let desired = host(json!({"spec": {"ports": [{"port": 80}]}}));
        let current = host(json!({"spec": {"ports": [{"port": 80, "nodePort": 30000}]}}));
        assert_eq!(managed(&["/spec/ports".to_owned()], &desired, &current), None);
    }

    #[test]
    fn what_the_tenant_removed_from_a_list_element_goes() {
        let desired =
            host(json!({"metadata": {"annotations": {DIGEST: "new"}}, "spec": {"ports": [{"port": 80}]}}));
        let current = host(
            json!({"metadata": {"annotations": {DIGEST: "old"}}, "spec": {"ports": [{"port": 80, "appProtocol": "http"}]}}),
        );
        let change = managed(&["/spec/ports".to_owned()], &desired, &current).unwrap();
        assert_eq!(change.body, json!({"spec": {"ports": [{"port": 80}]}}));
    }

    #[test]
    fn what_the_tenant_removed_goes() {
        let desired = host(json!({"data": {"a": "1"}}));
        let current = host(json!({"data": {"a": "2", "b": "1"}, "binaryData": {"c": ""}}));
        let change = managed(&["/data", "/binaryData"].map(str::to_owned), &desired, &current).unwrap();
        assert_eq!(change.body, json!({"data": {"a": "1", "b": null}, "binaryData": null}));
    }

    #[test]
    fn an_exact_patch_removes_and_adds() {
        let from = json!({"a": 1, "b": {"c": 1, "d": 2}});
        let to = json!({"b": {"c": 1, "d": 3}, "e": []});
        assert_eq!(exact(Some(&from), Some(&to)), Some(json!({"a": null, "b": {"d": 3}, "e": []})));
        assert_eq!(exact(Some(&to), Some(&to)), None);
    }
}
