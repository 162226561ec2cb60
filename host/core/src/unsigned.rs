//! Recognises a host object of ours that has lost its identity: somebody has removed the annotation, and nothing else.
//!
//! Its name, its labels and its owner are ours still. That it has no identity does not make it anybody else's; without
//! an owner it would, because what the host's controllers make from our Services has their labels.

use serde_json::Value;

use crate::context::Owner;
use crate::keys::{NAMESPACE_LABEL, PURPOSE_LABEL};
use crate::labels;
use crate::names::{Identity, Names};
use crate::object::{HostObject, VirtualName};

/// The virtual namespace of an object that has lost its identity; none if it has one, or is not ours.
pub fn namespace<'a>(names: &Names, owner: Option<&Owner>, object: &'a HostObject) -> Option<&'a str> {
    let namespace = object.label(NAMESPACE_LABEL).unwrap_or_default();
    let has_labels =
        labels::scope(names, namespace).iter().all(|(key, value)| object.label(key) == value.as_str());
    let is_part = object.label(PURPOSE_LABEL).is_some();
    let is_unsigned = Identity::of(object).is_none();
    (is_unsigned && has_labels && !is_part && has_owner(object, owner?)).then_some(namespace)
}

/// Whether an object that has lost its identity is where the host object of `name` belongs.
pub fn is_of(names: &Names, owner: Option<&Owner>, object: &HostObject, name: &VirtualName) -> bool {
    namespace(names, owner, object) == Some(&*name.namespace)
        && names.host_name(name).as_str() == object.name()
}

fn has_owner(object: &HostObject, owner: &Owner) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let uid = |reference: &Value| reference.get("uid").and_then(Value::as_str) == Some(&*owner.uid);
    owners.is_some_and(|owners| owners.iter().any(uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::keys::{CLUSTER_LABEL, IDENTITY};

    #[test]
    fn an_object_without_identity_is_ours_by_name_labels_and_owner_together() {
        let names = Names::new("vc", "team-a").unwrap();
        let owner = Owner { name: "vc".into(), uid: "uid-owner".into() };
        let (web, other) = (VirtualName::new("shop", "web"), VirtualName::new("bank", "web"));
        let whole = json!({
            "name": names.host_name(&web).as_str(), "labels": {CLUSTER_LABEL: "vc", NAMESPACE_LABEL: "shop"},
            "ownerReferences": [{"uid": "another"}, {"uid": "uid-owner"}],
        });
        let found = |change: &dyn Fn(&mut Value), name: &VirtualName| {
            let mut metadata = whole.clone();
            change(&mut metadata);
            let object = HostObject::from_json(json!({"metadata": metadata})).unwrap();
            is_of(&names, Some(&owner), &object, name)
        };
        assert!(found(&|_| {}, &web));
        assert!(found(&|metadata| metadata["annotations"] = json!({IDENTITY: "{"}), &web), "edited");
        assert!(!found(&|_| {}, &other));
        let identity = Identity {
            cluster: "vc".into(),
            kind: "v1/Pod".into(),
            namespace: "shop".into(),
            name: "db".into(),
            uid: "u".into(),
        };
        let missing: [&dyn Fn(&mut Value); 6] = [
            &|metadata| metadata["annotations"] = json!({IDENTITY: identity.to_text()}),
            &|metadata| metadata["labels"][CLUSTER_LABEL] = "other".into(),
            &|metadata| metadata["labels"][NAMESPACE_LABEL] = "bank".into(),
            &|metadata| metadata["labels"][PURPOSE_LABEL] = "token".into(),
            &|metadata| metadata["ownerReferences"] = json!([{"uid": "another"}]),
            &|metadata| metadata["name"] = "web".into(),
        ];
        for (number, change) in missing.into_iter().enumerate() {
            assert!(!found(change, &web), "{number}");
        }
    }
}
