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
