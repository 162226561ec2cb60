//! Decides what to do about one definition, given what both clusters have of it. No I/O.
//!
//! A definition is the tenant's once it is there: it is never deleted, and never brought to a state that
//! serves less than it did.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::keys::DEFINITION;
use weft_core::object::{HostObject, Object, ResourceType, VirtualObject};
use weft_core::{diff, digest};

/// Of a group that is Kubernetes' own, the API server wants to see that the definition was approved.
const APPROVED: &str = "api-approved.kubernetes.io";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// It is as it should be.
    Nothing,
    /// There is none.
    Create(VirtualObject),
    /// Ours is older than the host's.
    Update(Vec<Change>),
    /// It is somebody else's, and stays as it is.
    Respect,
    /// It stays as it is, for this reason.
    Keep(String),
}

/// What we remember on a definition: which one of the host's it was made from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Origin {
    generation: i64,
    host_uid: String,
    /// Of the `spec` that we wrote.
    digest: String,
}

/// What to do about the definition of `resource`.
pub(super) fn decide(resource: &ResourceType, host: &HostObject, current: Option<&VirtualObject>) -> Action {
    let Some(spec) = spec_for(resource, host) else {
        return Action::Keep(format!("the host does not serve version {} of it", resource.version));
    };
    let origin = Origin {
        generation: host.generation().unwrap_or_default(),
        host_uid: host.uid().to_owned(),
        digest: digest::of_value(&spec),
    };
    let Some(current) = current else { return Action::Create(compose(host, &origin, &spec)) };
    let Some(written) = current.annotation(DEFINITION) else { return Action::Respect };
    let written: Option<Origin> = serde_json::from_str(written).ok();
    if current.is_terminating() || written.is_some_and(|written| written.digest == origin.digest) {
        return Action::Nothing;
    }
    let lost = lost_versions(current, &spec);
    if !lost.is_empty() {
        let lost = lost.into_iter().collect::<Vec<_>>().join(", ");
        return Action::Keep(format!(
            "with the host's definition of now it would lose version {lost}, which is served or has objects here"
        ));
    }
    let mut desired = current.clone();
    desired.annotations_mut().insert(DEFINITION.to_owned(), origin.to_text().into());
    desired.fields_mut().insert("spec".to_owned(), spec);
    Action::Update(diff::exact_changes(&desired, current))
}

impl Origin {
    fn to_text(&self) -> String {
        // A number and two strings cannot fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The host's `spec` as it can be in the virtual cluster; none if `resource` is not in it.
fn spec_for(resource: &ResourceType, host: &HostObject) -> Option<Value> {
    let mut spec = host.pointer("/spec")?.clone();
    let chosen = versions(&spec).find(|version| name_of(version) == resource.version)?;
    if !is(chosen, "served") {
        return None;
    }
    if spec.pointer("/conversion/strategy").and_then(Value::as_str) == Some("Webhook") {
        let schema = chosen.get("schema").cloned();
        without_webhook(resource, schema.as_ref(), &mut spec);
    }
    Some(spec)
}

/// The host's converter cannot be called from the virtual cluster: what is stored is the version that is
/// synced, and what is served beside it are versions that differ in nothing but their name.
fn without_webhook(resource: &ResourceType, schema: Option<&Value>, spec: &mut Value) {
    let Some(fields) = spec.as_object_mut() else { return };
    fields.insert("conversion".to_owned(), json!({"strategy": "None"}));
    let versions = fields.get_mut("versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let is_chosen = version.get("name").and_then(Value::as_str) == Some(&*resource.version);
        let is_served = version.get("served").and_then(Value::as_bool).unwrap_or_default();
        let is_the_same = version.get("schema") == schema;
        version.insert("storage".to_owned(), is_chosen.into());
        version.insert("served".to_owned(), (is_chosen || is_served && is_the_same).into());
    }
}

fn compose(host: &HostObject, origin: &Origin, spec: &Value) -> VirtualObject {
    let mut annotations = json!({DEFINITION: origin.to_text()});
    if let (Some(approved), Some(annotations)) = (host.annotation(APPROVED), annotations.as_object_mut()) {
        annotations.insert(APPROVED.to_owned(), approved.into());
    }
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": host.name(), "annotations": annotations},
        "spec": spec,
    });
    VirtualObject::new(definition.as_object().cloned().unwrap_or_default())
}

/// The versions that are served or stored now and would not be with `spec`.
fn lost_versions(current: &VirtualObject, spec: &Value) -> BTreeSet<String> {
    let names = |flag: &'static str, spec: &Value| -> BTreeSet<String> {
        versions(spec).filter(|version| is(version, flag)).map(name_of).map(str::to_owned).collect()
    };
    let current_spec = current.pointer("/spec").cloned().unwrap_or_default();
    let (served, still_served) = (names("served", &current_spec), names("served", spec));
    let known: BTreeSet<&str> = versions(spec).map(name_of).collect();
    let stored = names("storage", &current_spec).into_iter().chain(stored_versions(current));
    let unknown = stored.filter(|name| !known.contains(name.as_str()));
    served.into_iter().filter(|name| !still_served.contains(name)).chain(unknown).collect()
}

/// The versions in which objects are stored, by the server's own account.
fn stored_versions<S>(definition: &Object<S>) -> Vec<String> {
    let stored = definition.pointer("/status/storedVersions").and_then(Value::as_array);
    stored.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn versions(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.get("versions").and_then(Value::as_array).into_iter().flatten()
}

fn name_of(version: &Value) -> &str {
    version.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn is(version: &Value, flag: &str) -> bool {
    version.get(flag).and_then(Value::as_bool).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::widgets as resource;

    /// `v1 served stored` is a version; its schema is named after `schema=`, if it is given.
    fn spec(versions: &[&str]) -> Value {
        let version = |text: &&str| {
            let words: Vec<&str> = text.split(' ').collect();
            let schema = words.iter().find_map(|word| word.strip_prefix("schema=")).unwrap_or("plain");
            json!({"name": words[0], "served": words.contains(&"served"), "storage": words.contains(&"stored"),
                   "schema": {"openAPIV3Schema": {"description": schema}}})
        };
        let versions: Vec<Value> = versions.iter().map(version).collect();
        json!({"group": "example.org", "versions": versions, "conversion": {"strategy": "None"}})
    }

    fn host(generation: i64, spec: &Value) -> HostObject {
        let metadata = json!({"name": "widgets.example.org", "uid": "host-uid", "generation": generation,
            "labels": {"helm": "yes"}, "annotations": {APPROVED: "https://example.org", "other": "no"}});
        HostObject::from_json(json!({"metadata": metadata, "spec": spec, "status": {}})).unwrap()
    }

    /// What is in the virtual cluster after the host's `spec` was installed.
    fn installed(spec: &Value) -> VirtualObject {
        let Action::Create(mut definition) = decide(&resource(), &host(1, spec), None) else {
            panic!("a missing definition is created");
        };
        definition.metadata_mut().insert("uid".to_owned(), "virtual-uid".into());
        definition
    }

    fn word(action: &Action) -> &'static str {
        match action {
            Action::Nothing => "nothing",
            Action::Create(_) => "create",
            Action::Update(_) => "update",
            Action::Respect => "respect",
            Action::Keep(_) => "keep",
        }
    }

    #[test]
    fn what_is_there_and_what_the_host_has_decide() {
        /// What it is about, the host's versions, those that were installed before, and what is to be done.
        type Case = (&'static str, &'static [&'static str], Option<&'static [&'static str]>, &'static str);
        let cases: &[Case] = &[
            ("none is there", &["v1 served stored"], None, "create"),
            ("the host does not have our version", &["v2 served stored"], None, "keep"),
            ("the host does not serve our version", &["v1", "v2 served stored"], None, "keep"),
            ("the same", &["v1 served stored"], Some(&["v1 served stored"]), "nothing"),
            ("a new schema", &["v1 served stored schema=new"], Some(&["v1 served stored"]), "update"),
            ("a version more", &["v1 served stored", "v2 served"], Some(&["v1 served stored"]), "update"),
            ("a version less", &["v1 served stored"], Some(&["v1 served stored", "v1beta1 served"]), "keep"),
            (
                "a version served no more",
                &["v1 served stored", "v1beta1"],
                Some(&["v1 served stored", "v1beta1 served"]),
                "keep",
            ),
            (
                "a version removed that was not served",
                &["v1 served stored"],
                Some(&["v1 served stored", "v1beta1"]),
                "update",
            ),
            (
                "the stored version removed",
                &["v1 served stored"],
                Some(&["v1 served", "v1beta1 stored"]),
                "keep",
            ),
            (
                "another version stored",
                &["v1 served stored", "v1beta1"],
                Some(&["v1 served", "v1beta1 stored"]),
                "update",
            ),
        ];
        for (title, on_host, before, expected) in cases {
            let current = before.map(|versions| installed(&spec(versions)));
            let action = decide(&resource(), &host(2, &spec(on_host)), current.as_ref());
            assert_eq!(word(&action), *expected, "{title}: {action:?}");
        }
    }

    #[test]
    fn what_objects_are_stored_in_is_not_taken_away() {
        let mut current = installed(&spec(&["v1 served stored", "v1beta1"]));
        current.fields_mut().insert("status".to_owned(), json!({"storedVersions": ["v1beta1", "v1"]}));
        let action = decide(&resource(), &host(2, &spec(&["v1 served stored"])), Some(&current));
        assert!(matches!(&action, Action::Keep(why) if why.contains("version v1beta1,")), "{action:?}");
    }

    #[test]
    fn a_definition_of_somebody_else_is_respected() {
        let mut current = installed(&spec(&["v1 served stored"]));
        current.annotations_mut().remove(DEFINITION);
        let action = decide(&resource(), &host(2, &spec(&["v1 served stored", "v2 served"])), Some(&current));
        assert_eq!(action, Action::Respect);
    }

    #[test]
    fn only_what_defines_the_kind_is_taken_over() {
        let definition = installed(&spec(&["v1 served stored"]));
        let annotations: Vec<&String> = definition.annotations().unwrap().keys().collect();
        assert_eq!(annotations, [APPROVED, DEFINITION]);
        assert_eq!((definition.labels(), definition.pointer("/status")), (None, None));
        let origin: Origin = serde_json::from_str(definition.annotation(DEFINITION).unwrap()).unwrap();
        assert_eq!((origin.generation, origin.host_uid.as_str()), (1, "host-uid"));
    }

    #[test]
    fn without_its_converter_a_definition_serves_what_needs_none() {
        let mut converted = spec(&["v1beta1 served schema=old", "v1 served", "v2 served stored", "v0"]);
        converted["conversion"] = json!({"strategy": "Webhook", "webhook": {"clientConfig": {}}});
        let definition = installed(&converted);
        let expected = spec(&["v1beta1 schema=old", "v1 served stored", "v2 served", "v0"]);
        assert_eq!(definition.pointer("/spec"), Some(&expected));
    }

    #[test]
    fn an_update_says_no_more_than_what_is_new() {
        let current = installed(&spec(&["v1 served stored"]));
        let now = spec(&["v1 served stored", "v2 served"]);
        let Action::Update(changes) = decide(&resource(), &host(2, &now), Some(&current)) else {
            panic!("a newer definition is taken over");
        };
        let body = &changes.first().unwrap().body;
        assert_eq!(body.pointer("/spec"), Some(&json!({"versions": now["versions"]})));
        assert!(body.pointer("/metadata/annotations").unwrap().get(DEFINITION).is_some());
    }
}
