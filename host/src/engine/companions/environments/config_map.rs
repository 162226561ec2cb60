//! What the ConfigMap with the variables of Services looks like, and what to patch where it looks otherwise.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::context::Owner;
use weft_core::diff;
use weft_core::keys::{CLUSTER_LABEL, PURPOSE_LABEL};
use weft_core::kinds::pod::environment::config_map_name;
use weft_core::labels;
use weft_core::names::Names;
use weft_core::object::{Fields, HostObject};

use crate::engine::cache::state::environments::PURPOSE;

/// The ConfigMap of a scope with these variables.
pub(super) fn compose(
    names: &Names,
    owner: Option<&Owner>,
    scope: &str,
    variables: &BTreeMap<String, String>,
) -> HostObject {
    let mut labels = labels::scope(names, scope);
    labels.insert(PURPOSE_LABEL.into(), PURPOSE.into());
    let owners: Vec<Value> = owner.map(Owner::reference).into_iter().collect();
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": config_map_name(names, scope).as_str(), "namespace": names.namespace(),
            "labels": labels, "ownerReferences": owners,
        },
        "data": variables,
    });
    HostObject::new(config_map.as_object().cloned().unwrap_or_default())
}

/// The patch from `found` to `wanted`, of what is ours in it.
pub(super) fn difference(found: &HostObject, wanted: &HostObject) -> Option<Change> {
    let mut patch = Fields::new();
    if let Some(data) = diff::exact(found.pointer("/data"), wanted.pointer("/data")) {
        patch.insert("data".to_owned(), data);
    }
    let mut metadata = Fields::new();
    let has_label = |(key, value): (&String, &Value)| found.label(key) == value.as_str();
    if !wanted.labels().into_iter().flatten().all(has_label) {
        metadata.insert("labels".to_owned(), json!(wanted.labels()));
    }
    let owners = wanted.pointer("/metadata/ownerReferences");
    if owners != found.pointer("/metadata/ownerReferences") {
        metadata.insert("ownerReferences".to_owned(), json!(owners));
    }
    if !metadata.is_empty() {
        patch.insert("metadata".to_owned(), Value::Object(metadata));
    }
    (!patch.is_empty()).then(|| Change::merge(Value::Object(patch)))
}

/// Whether an object that has the name of such a ConfigMap is one: by its label or its owner, of which somebody may have
/// removed the other.
pub(super) fn is_ours(names: &Names, owner: Option<&Owner>, found: &HostObject) -> bool {
    let has_owner =
        || owner.is_some_and(|owner| found.text("/metadata/ownerReferences/0/uid") == Some(&owner.uid));
    found.label(CLUSTER_LABEL) == Some(names.cluster()) || has_owner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("vc", "team-a").unwrap()
    }

    fn owner() -> Owner {
        Owner { name: "vc".into(), uid: "uid-owner".into() }
    }

    fn wanted() -> HostObject {
        let variables = BTreeMap::from([("WEB_SERVICE_HOST".to_owned(), "10.0.0.7".to_owned())]);
        compose(&names(), Some(&owner()), "shop", &variables)
    }

    /// The patch that brings an object back that was changed so.
    fn repaired(change: impl FnOnce(&mut Value)) -> Option<Value> {
        let mut found = Value::Object(wanted().fields().clone());
        change(&mut found);
        difference(&HostObject::from_json(found).unwrap(), &wanted()).map(|change| change.body)
    }

    #[test]
    fn what_others_have_changed_of_ours_is_changed_back_and_the_rest_is_left_alone() {
        assert_eq!(repaired(|_| {}), None);
        assert_eq!(repaired(|found| found["metadata"]["labels"]["mine"] = "stays".into()), None);
        let data = repaired(|found| found["data"] = json!({"WEB_SERVICE_HOST": "10.9.9.9", "OTHER": "x"}));
        assert_eq!(data, Some(json!({"data": {"WEB_SERVICE_HOST": "10.0.0.7", "OTHER": null}})));
        let owners = repaired(|found| found["metadata"]["ownerReferences"] = json!([])).unwrap();
        assert_eq!(
            owners["metadata"]["ownerReferences"][0]["uid"], "uid-owner",
            "it goes with the virtual cluster"
        );
        let labels = repaired(|found| found["metadata"]["labels"] = json!({})).unwrap();
        assert_eq!(labels["metadata"]["labels"][PURPOSE_LABEL], "environment");
        assert_eq!(labels["metadata"]["labels"][CLUSTER_LABEL], "vc");
    }

    #[test]
    fn an_object_is_ours_by_its_label_or_by_its_owner() {
        let found = |metadata: Value| {
            let object = HostObject::from_json(json!({"metadata": metadata})).unwrap();
            is_ours(&names(), Some(&owner()), &object)
        };
        assert!(found(json!({"labels": {CLUSTER_LABEL: "vc"}})));
        assert!(found(json!({"ownerReferences": [{"uid": "uid-owner"}]})));
        assert!(!found(
            json!({"labels": {CLUSTER_LABEL: "other"}, "ownerReferences": [{"uid": "uid-other"}]})
        ));
    }
}
