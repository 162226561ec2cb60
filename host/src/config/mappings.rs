//! Kinds that the configuration describes: `mappings`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weft_core::declared::Declaration;
use weft_core::object::{Kind, ResourceType};
use weft_core::references::Reference;
use weft_core::spec::Selection;
use weft_core::well_known;

use crate::config::Error;
use crate::config::plugins::is_kind;

/// A kind that needs no code: where its objects name others, and what flows back.
///
/// Paths are RFC 6901 pointers in which `*` means every item of a list or every value of a map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredMapping {
    /// Group and version, such as `cert-manager.io/v1`.
    pub api_version: String,
    /// The kind, such as `Certificate`.
    pub kind: String,
    /// Its name in URLs, such as `certificates`.
    pub plural: String,
    /// Which virtual objects get a host object.
    #[serde(default)]
    pub selection: DeclaredSelection,
    /// Where objects name other objects. Names are rewritten, and what is named is synced if its kind is
    /// synced on use.
    #[serde(default)]
    pub references: Vec<DeclaredReference>,
    /// Label selectors of pods: each is limited to the pods of the object's virtual namespace.
    #[serde(default)]
    pub selectors: Vec<String>,
    /// Labels that a controller of the host gives to the pods it makes.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Managed fields: managed by the syncer, and removed on the host when the tenant removes them.
    #[serde(default = "spec")]
    pub managed: Vec<String>,
    /// What flows back to the virtual object.
    #[serde(default = "status")]
    pub back: Vec<String>,
    /// Have the host's `CustomResourceDefinition` installed in the virtual cluster.
    #[serde(default)]
    pub install_definition: bool,
    /// Map the kind although who writes its objects opens a namespace, runs pods, or acts with the permissions of a
    /// controller of the host: `EnvoyFilter`, `HelmRelease`, `Lease`, `ReferenceGrant`, Argo and Knative kinds and the like
    /// are refused without this word, and so are objects of any kind that have containers in them. weft cannot confine
    /// what such objects do.
    #[serde(default)]
    pub acts_for_others: bool,
}

/// One place that names another object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredReference {
    /// Path to the name, such as `/spec/secretName`; or one annotation, `/metadata/annotations/example.com~1secret`.
    pub path: String,
    /// What is named, as `apiVersion/Kind`: `v1/Secret`.
    pub kind: String,
    /// The field beside the name that holds a namespace; the object's own is meant where it is empty.
    #[serde(default)]
    pub namespace_field: Option<String>,
}

/// Which virtual objects get a host object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeclaredSelection {
    /// Every one.
    #[default]
    All,
    /// Those that an object on the host names.
    Used,
}

impl DeclaredMapping {
    /// Passes if the declaration makes sense: the same is required of a plugin that adds the kind.
    pub(super) fn check(&self) -> Result<(), Error> {
        let value = |why: String| Error::Value { key: "mappings", why };
        let checked = self.declaration().check("");
        checked.map_err(|invalid| value(format!("{}: {invalid}", self.kind)))?;
        if well_known::acts_for_others(&self.resource()) && !self.acts_for_others {
            let why = "objects of this kind act for others on the host; set `actsForOthers: true` to map it all the same";
            return Err(value(format!("{}: {why}", self.kind)));
        }
        if let Some(reference) = self.references.iter().find(|reference| !is_kind(&reference.kind)) {
            let found = &reference.kind;
            let why = format!(
                "{}: the reference's kind {found:?} must be apiVersion/Kind, such as v1/Secret",
                self.kind
            );
            return Err(value(why));
        }
        Ok(())
    }

    /// The declaration.
    pub fn declaration(&self) -> Declaration {
        Declaration {
            resource: self.resource(),
            selection: self.selection.into(),
            references: self.references(),
            selectors: self.selectors.clone(),
            labels: self.labels.clone(),
            managed: self.managed.clone(),
            back: self.back.clone(),
            installs_definition: self.install_definition,
            acts_for_others: self.acts_for_others,
        }
    }

    fn resource(&self) -> ResourceType {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ResourceType {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            kind: Cow::Owned(self.kind.clone()),
            plural: Cow::Owned(self.plural.clone()),
            namespaced: true,
        }
    }

    fn references(&self) -> Vec<Reference> {
        let reference = |declared: &DeclaredReference| Reference {
            path: declared.path.clone(),
            kind: Kind::new(&declared.kind),
            namespace_field: declared.namespace_field.clone(),
        };
        self.references.iter().map(reference).collect()
    }
}

impl From<DeclaredSelection> for Selection {
    fn from(selection: DeclaredSelection) -> Self {
        match selection {
            DeclaredSelection::All => Self::All,
            DeclaredSelection::Used => Self::Used,
        }
    }
}

fn spec() -> Vec<String> {
    vec!["/spec".to_owned()]
}

fn status() -> Vec<String> {
    vec!["/status".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The declaration of a kind with these fields beside its name.
    fn declared(fields: &Value) -> DeclaredMapping {
        let mut mapping = json!({"apiVersion": "example.com/v1", "kind": "Cat", "plural": "cats"});
        mapping.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(mapping).unwrap()
    }

    #[test]
    fn by_default_all_objects_are_synced_with_their_spec_and_the_status_flows_back() {
        let declaration = declared(&json!({})).declaration();
        assert_eq!(declaration.resource.kind(), Kind::new("example.com/v1/Cat"));
        assert_eq!((&*declaration.resource.plural, declaration.selection), ("cats", Selection::All));
        assert_eq!(
            (declaration.managed, declaration.back),
            (vec!["/spec".to_owned()], vec!["/status".to_owned()])
        );
        assert!(!declaration.installs_definition);
    }

    #[test]
    fn what_is_declared_reaches_the_core() {
        let reference =
            json!({"path": "/spec/secretName", "kind": "v1/Secret", "namespaceField": "secretNamespace"});
        let mapping = declared(&json!({
            "selection": "used", "references": [reference], "selectors": ["/spec/selector"],
            "labels": ["cat"], "managed": ["/data"], "back": ["/spec/claim"], "installDefinition": true,
        }));
        let declaration = mapping.declaration();
        let reference = Reference {
            path: "/spec/secretName".to_owned(),
            kind: Kind::new("v1/Secret"),
            namespace_field: Some("secretNamespace".to_owned()),
        };
        assert_eq!((declaration.selection, declaration.references), (Selection::Used, vec![reference]));
        assert_eq!(
            (declaration.selectors, declaration.labels),
            (vec!["/spec/selector".to_owned()], vec!["cat".to_owned()])
        );
        assert_eq!(
            (declaration.managed, declaration.back),
            (vec!["/data".to_owned()], vec!["/spec/claim".to_owned()])
        );
        assert!(declaration.installs_definition);
    }

    #[test]
    fn a_kind_of_the_core_group_has_no_group() {
        let mapping = DeclaredMapping { api_version: "v1".to_owned(), ..declared(&json!({})) };
        let resource = mapping.declaration().resource;
        assert_eq!((&*resource.group, &*resource.version), ("", "v1"));
    }

    #[test]
    fn a_kind_that_acts_for_others_needs_the_operators_word() {
        let lease = DeclaredMapping {
            api_version: "coordination.k8s.io/v1".to_owned(),
            kind: "Lease".to_owned(),
            ..declared(&json!({}))
        };
        let error = lease.check().unwrap_err().to_string();
        assert!(error.contains("`actsForOthers: true`"), "{error}");
        assert!(!lease.declaration().acts_for_others);
        let allowed = DeclaredMapping { acts_for_others: true, ..lease };
        assert!(allowed.check().is_ok() && allowed.declaration().acts_for_others);
    }

    #[test]
    fn a_kind_that_nobody_may_map_is_refused() {
        let mapping =
            DeclaredMapping { api_version: "v1".to_owned(), kind: "Node".to_owned(), ..declared(&json!({})) };
        let error = mapping.check().unwrap_err().to_string();
        assert!(error.starts_with("the configuration's `mappings` cannot be used: Node: kind"), "{error}");
    }
}
