//! A kind that is described rather than programmed: references, labels, selectors and what flows back.
//!
//! Most custom resources need no more. Kinds that a plugin adds have the same mapper as their base: the plugin
//! edits its result.

use serde_json::Value;

use crate::context::Ctx;
use crate::host_keys;
use crate::labels;
use crate::mapper::Mapper;
use crate::names::Names;
use crate::object::{Fields, HostObject, ResourceType, VirtualObject, child_mut};
use crate::paths;
use crate::references::Reference;
use crate::selectors::Selector;
use crate::spec::{KindSpec, Life, Policy, Selection};
use crate::verdict::Verdict;
use crate::well_known;

pub mod check;

/// The description of a kind. Paths are pointers in which `*` means every element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The kind.
    pub resource: ResourceType,
    /// Which virtual objects get a host object.
    pub selection: Selection,
    /// Where objects name other objects.
    pub references: Vec<Reference>,
    /// Paths to `LabelSelector`s of pods: limited to the pods of the object's virtual namespace. A missing one
    /// selects no pods.
    pub selectors: Vec<String>,
    /// Labels that host controllers give to the pods they make, such as `/spec/template/metadata/labels`.
    pub labels: Vec<String>,
    /// Managed fields, as pointers: see [`KindSpec::managed`].
    pub managed: Vec<String>,
    /// What flows back, as pointers.
    pub back: Vec<String>,
    /// Whether the host's definition is to be installed in the virtual cluster.
    pub installs_definition: bool,
    /// Whether the operator has said that its objects may act for others on the host.
    pub acts_for_others: bool,
}

/// The mapper that follows from a declaration.
#[derive(Debug)]
pub struct Declared {
    spec: KindSpec,
    declaration: Declaration,
}

impl Declared {
    /// The mapper of `declaration`.
    pub fn new(declaration: Declaration) -> Self {
        let mut references = declaration.references.clone();
        for known in well_known::references(&declaration.resource) {
            // What is declared wins: a name must not be translated twice.
            if !references.iter().any(|declared| declared.path == known.path) {
                references.push(known);
            }
        }
        let spec = KindSpec {
            references,
            selectors: declaration.selectors.iter().map(|path| Selector::declared(path)).collect(),
            policy: Policy { selection: declaration.selection, life: Life::Data },
            managed: declaration.managed.clone(),
            has_conditions: declaration.back.iter().any(|path| path == "/status"),
            is_essential: false,
            installs_definition: declaration.installs_definition,
            acts_for_others: declaration.acts_for_others,
            ..KindSpec::new(declaration.resource.clone())
        };
        Self { spec, declaration }
    }
}

impl Mapper for Declared {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        let scope = labels::scope(ctx.names, source.namespace());
        for path in &self.declaration.selectors {
            paths::each_in_mut(draft.fields_mut(), path, &mut |selector| {
                // A null selects nothing, and so it stays.
                if selector.is_null() {
                    return;
                }
                *selector = labels::selector_to_host(selector);
                for (key, value) in &scope {
                    labels::require(selector, key, value.as_str().unwrap_or_default());
                }
            });
        }
        for path in &self.declaration.labels {
            paths::each_in_mut(draft.fields_mut(), path, &mut |found| {
                if let Value::Object(map) = found {
                    *map = host_keys::template_to_host(&ctx.facts.policy.metadata.labels, map);
                    map.extend(scope.clone());
                }
            });
        }
        Ok(draft)
    }

    fn to_virtual(&self, ctx: &Ctx<'_>, source: &HostObject, mut draft: VirtualObject) -> VirtualObject {
        let namespace = draft.namespace().to_owned();
        for pointer in &self.declaration.back {
            let mut value = source.pointer(pointer).cloned();
            if let Some(value) = &mut value {
                hide_host_names(ctx.names, &namespace, value);
            }
            set(draft.fields_mut(), pointer, value);
        }
        draft
    }
}

/// Replaces host names by virtual ones in every string of `value`.
fn hide_host_names(names: &Names, namespace: &str, value: &mut Value) {
    match value {
        Value::String(text) => *text = names.to_virtual_text(text, namespace),
        Value::Array(items) => items.iter_mut().for_each(|item| hide_host_names(names, namespace, item)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| hide_host_names(names, namespace, field));
        }
        _ => {}
    }
}

/// Sets or removes what is at a pointer of object fields.
fn set(fields: &mut Fields, pointer: &str, value: Option<Value>) {
    let Some((parents, name)) = pointer.rsplit_once('/') else { return };
    let mut slot = fields;
    for parent in parents.split('/').skip(1).map(paths::unescape) {
        if value.is_none() && !slot.contains_key(&*parent) {
            return;
        }
        slot = child_mut(slot, &parent);
    }
    let name = paths::unescape(name);
    match value {
        Some(value) => slot.insert(name.into_owned(), value),
        None => slot.remove(&*name),
    };
}
