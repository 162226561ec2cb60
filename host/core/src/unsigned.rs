//! Recognises a host object of ours that has lost its identity: somebody has removed the annotation, and nothing else.
//!
//! Its name, its labels and its owner are ours still. That it has no identity does not make it anybody else's; without
//! an owner it would, because what the host's controllers make from our Services has their labels. Of kinds that have no
//! owner it must have none.

use serde_json::{Value, json};

use crate::context::Owner;
use crate::keys::{NAMESPACE_LABEL, PURPOSE_LABEL};
use crate::labels;
use crate::names::{Identity, Names};
use crate::object::{HostObject, VirtualName};

/// Who owns the host objects of a kind that are ours.
#[derive(Debug, Clone, Copy)]
pub enum Ownership<'a> {
    /// This one.
    By(&'a Owner),
    /// Nobody: they hold data.
    Nobody,
}

impl<'a> Ownership<'a> {
    /// That of a kind, which is owned or not; none while the owner is not known.
    pub fn of(is_owned: bool, owner: Option<&'a Owner>) -> Option<Self> {
        if is_owned { owner.map(Self::By) } else { Some(Self::Nobody) }
    }

    fn fits(self, object: &HostObject) -> bool {
        let mut owners =
            object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
        match self {
            Self::By(owner) => owners.any(|reference| reference.get("uid") == Some(&json!(owner.uid))),
            Self::Nobody => owners.next().is_none(),
        }
    }
}

/// The virtual namespace of an object that has lost its identity; none if it has one, or is not ours.
pub fn namespace<'a>(names: &Names, ownership: Ownership<'_>, object: &'a HostObject) -> Option<&'a str> {
    let namespace = object.label(NAMESPACE_LABEL).unwrap_or_default();
    let has_labels =
        labels::scope(names, namespace).iter().all(|(key, value)| object.label(key) == value.as_str());
    let is_part = object.label(PURPOSE_LABEL).is_some();
    let is_unsigned = Identity::of(object).is_none();
    (is_unsigned && has_labels && !is_part && ownership.fits(object)).then_some(namespace)
}

/// Whether an object that has lost its identity is where the host object of `name` belongs.
pub fn is_of(names: &Names, ownership: Ownership<'_>, object: &HostObject, name: &VirtualName) -> bool {
    namespace(names, ownership, object) == Some(&*name.namespace)
        && names.host_name(name).as_str() == object.name()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            is_of(&names, Ownership::By(&owner), &object, name)
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
        let mut claim = HostObject::from_json(json!({"metadata": whole})).unwrap();
        assert!(!is_of(&names, Ownership::Nobody, &claim, &web), "a claim that a pod of the host owns");
        claim.metadata_mut().remove("ownerReferences");
        assert!(is_of(&names, Ownership::Nobody, &claim, &web));
    }
}
