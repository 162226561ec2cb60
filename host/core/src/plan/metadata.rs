//! Brings the metadata of a host object to what is desired, and leaves alone what others have added.

use serde_json::{Value, json};

use crate::change::Change;
use crate::context::Owner;
use crate::keys::APPLIED;
use crate::object::{Fields, HostObject, child_mut};

/// The patches `changes` with the one of the metadata, in the object's own patch where there is one.
pub(super) fn with_metadata(
    mut changes: Vec<Change>,
    owner: Option<&Owner>,
    desired: &HostObject,
    host: &HostObject,
) -> Vec<Change> {
    if let Some(metadata) = metadata_patch(owner, desired, host) {
        match changes.iter_mut().find(|change| change.subresource.is_none()) {
            Some(main) => merge_metadata(&mut main.body, metadata),
            None => changes.push(Change::merge(json!({"metadata": metadata}))),
        }
    }
    changes
}

/// The patch of `metadata` that brings `host` to `desired`: the tenant's keys that we wrote before and that
/// are gone are removed, keys that others added stay.
fn metadata_patch(owner: Option<&Owner>, desired: &HostObject, host: &HostObject) -> Option<Value> {
    let applied: Value =
        host.annotation(APPLIED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let labels = map_patch(desired.labels(), host.labels(), applied.get("labels"));
    let annotations = map_patch(desired.annotations(), host.annotations(), applied.get("annotations"));
    let mut patch = Fields::new();
    for (name, change) in [("labels", labels), ("annotations", annotations)] {
        if !change.is_empty() {
            patch.insert(name.to_owned(), Value::Object(change));
        }
    }
    if let Some(owners) = changed_owners(owner, desired, host) {
        patch.insert("ownerReferences".to_owned(), owners);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn map_patch(desired: Option<&Fields>, current: Option<&Fields>, applied: Option<&Value>) -> Fields {
    let has = |map: Option<&Fields>, key: &str| map.is_some_and(|map| map.contains_key(key));
    let gone = applied.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let gone =
        gone.filter(|key| !has(desired, key) && has(current, key)).map(|key| (key.to_owned(), Value::Null));
    let changed = desired.into_iter().flatten();
    let changed = changed.filter(|(key, value)| current.and_then(|map| map.get(*key)) != Some(*value));
    gone.chain(changed.map(|(key, value)| (key.clone(), value.clone()))).collect()
}

/// The owner references of `host` with ours as they should be, if they are not: `owner` where it is desired, and nothing
/// that was the owner before it, with which the object would be deleted. An object has one controller at most, so where
/// another one was quicker, ours is none.
fn changed_owners(owner: Option<&Owner>, desired: &HostObject, host: &HostObject) -> Option<Value> {
    let list = |object: &HostObject| {
        object.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (ours, current) = (list(desired), list(host));
    let is_ours = |owner: &&Value| ours.iter().any(|mine| mine.get("uid") == owner.get("uid"));
    let is_former = |reference: &&Value| owner.is_some_and(|owner| owner.is_former(reference));
    let (former, current): (Vec<&Value>, Vec<&Value>) = current.iter().partition(is_former);
    let (mine, others): (Vec<&Value>, Vec<&Value>) = current.into_iter().partition(is_ours);
    let is_controlled = others.iter().any(|owner| is_controller(owner));
    let wanted: Vec<Value> =
        ours.iter().map(|mine| if is_controlled { no_controller(mine) } else { mine.clone() }).collect();
    let is_there = |wanted: &Value| {
        mine.iter()
            .any(|mine| mine.get("uid") == wanted.get("uid") && is_controller(mine) == is_controller(wanted))
    };
    if former.is_empty() && wanted.iter().all(is_there) {
        return None;
    }
    Some(others.into_iter().cloned().chain(wanted).collect())
}

fn is_controller(owner: &Value) -> bool {
    owner.get("controller").and_then(Value::as_bool).unwrap_or(false)
}

fn no_controller(owner: &Value) -> Value {
    let mut owner = owner.clone();
    if let Some(fields) = owner.as_object_mut() {
        fields.remove("controller");
    }
    owner
}

fn merge_metadata(body: &mut Value, metadata: Value) {
    if let (Some(body), Value::Object(metadata)) = (body.as_object_mut(), metadata) {
        child_mut(body, "metadata").extend(metadata);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The owners after the patch, for a host object with these; none if nothing changes.
    fn owners_of(desired: &Value, host: &Value) -> Option<Value> {
        let owner = Owner { name: "vc".to_owned(), uid: "ours".to_owned() };
        let of =
            |owners: &Value| HostObject::from_json(json!({"metadata": {"ownerReferences": owners}})).unwrap();
        changed_owners(Some(&owner), &of(desired), &of(host))
    }

    #[test]
    fn our_reference_is_the_controllers_unless_another_one_was_quicker() {
        let (ours, other) = (json!({"uid": "ours", "controller": true}), json!({"uid": "other"}));
        let owners_of = |host: &Value| owners_of(&json!([ours]), host);
        assert_eq!(owners_of(&json!([ours])), None);
        assert_eq!(owners_of(&json!([other, ours])), None);
        assert_eq!(owners_of(&json!([])), Some(json!([ours])));
        assert_eq!(owners_of(&json!([{"uid": "ours"}, other])), Some(json!([other, ours])));
        let adopted = json!({"uid": "set", "controller": true});
        assert_eq!(owners_of(&json!([{"uid": "ours"}, adopted])), None);
        assert_eq!(owners_of(&json!([adopted])), Some(json!([adopted, {"uid": "ours"}])));
    }

    #[test]
    fn what_was_the_owner_before_is_none_any_more_and_others_stay() {
        let (ours, other) = (json!({"uid": "ours", "controller": true}), json!({"uid": "other"}));
        let former = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "old", "controller": true});
        for kind in ["Service", "ConfigMap"] {
            let found = owners_of(&json!([ours]), &json!([former(kind, "vc"), other]));
            assert_eq!(found, Some(json!([other, ours])), "{kind}");
            let claim = owners_of(&json!([]), &json!([former(kind, "vc")]));
            assert_eq!(claim, Some(json!([])), "{kind}");
        }
        for foreign in [former("Pod", "vc"), former("Service", "other")] {
            assert_eq!(owners_of(&json!([]), &json!([foreign])), None, "{foreign}");
        }
    }
}
