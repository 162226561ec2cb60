//! The guard: what no mapper may change, checked after every mapper, built in or loaded.
//!
//! A wrong mapper or a hostile plugin ends here. The result must be the host object of this virtual
//! object and nothing else, and whatever it names must be something this tenant can have.
//! This file belongs to the trusted base: see ARCHITECTURE.md.

mod choices;
mod claims;
mod containers;
mod content;
mod endpoints;
mod fields;
mod hosts_file;
mod metadata;
mod places;
mod pod;
mod powers;
mod security;
mod selectors;
mod services;
mod unknown;

use serde_json::Value;

use crate::conditions;
use crate::context::Ctx;
use crate::keys::{DOWNWARD_PREFIX, HOSTS_FILE, IDENTITY};
use crate::labels;
use crate::mapper::Mapper;
use crate::object::{Fields, HostObject, VirtualObject};
use crate::paths;
use crate::references::{self, Reference};
use crate::spec::KindSpec;
use crate::verdict::{By, Hold, Verdict};
use crate::well_known;

/// Passes `result` if it may be written to the host in place of `draft`, what translation made before
/// the mapper ran.
pub fn confine(ctx: &Ctx<'_>, mapper: &dyn Mapper, draft: &HostObject, result: &HostObject) -> Verdict<()> {
    known_name(ctx, draft)?;
    same_identity(draft, result)?;
    same_reserved_metadata(draft, result)?;
    confine_content(ctx, mapper.spec(), result)
}

/// Passes `source` if each name in it is of its own namespace, or of one that a field beside the name says. A host name
/// that a tenant writes with the host's namespace in front would lead to any namespace of the virtual cluster.
pub fn confine_names(spec: &KindSpec, source: &VirtualObject) -> Verdict<()> {
    match references::elsewhere(&spec.references, source) {
        Some((pointer, name)) => Err(refuse(
            pointer,
            format!(
                "{name:?} is not the name of an object of this namespace; copy what it names into this one"
            ),
        )),
        None => Ok(()),
    }
}

/// Passes `result`, a host object of the kind `spec`, if whatever it names and selects is this tenant's.
pub fn confine_content(ctx: &Ctx<'_>, spec: &KindSpec, result: &HostObject) -> Verdict<()> {
    known_references(ctx, &spec.references, result)?;
    known_references(ctx, &well_known::references(&spec.resource), result)?;
    if let Some(pointer) = selectors::foreign(ctx.names.cluster(), spec, result) {
        return Err(refuse(
            &pointer,
            "it must select pods of this virtual cluster only: the host namespace may hold others".to_owned(),
        ));
    }
    content::judge(ctx, &spec.resource, result)?;
    containers::judge(spec, result)?;
    metadata::judge(ctx, &spec.resource, result)?;
    fields::judge(&spec.resource, result)
}

/// Passes if `after` still has each selector of `before` without which the host may select pods of others.
pub fn confine_selectors(spec: &KindSpec, before: &HostObject, after: &HostObject) -> Verdict<()> {
    match selectors::removed(spec, before, after) {
        Some(pointer) => Err(refuse(
            &pointer,
            "a mapping must not remove it: without it the host may select pods of others".to_owned(),
        )),
        None => Ok(()),
    }
}

/// Passes if an extension that may write `writes` may turn the host object `before` into `after`.
///
/// Stricter than [`confine`]: nothing outside `writes` changes but labels and annotations, and a pod gains no
/// privileges.
pub fn confine_edit(before: &HostObject, after: &HostObject, writes: &[String]) -> Verdict<()> {
    same_identity(before, after)?;
    same_reserved_metadata(before, after)?;
    well_formed_metadata(after)?;
    let open = ["/metadata/labels", "/metadata/annotations"].into_iter();
    let open: Vec<&str> = open.chain(writes.iter().map(String::as_str)).collect();
    if let Some(pointer) = changed_outside(before.fields(), after.fields(), &open) {
        return Err(not_declared(&pointer, "host-writes"));
    }
    if after.text("/kind") == Some("Pod") { confine_pod_edit(before, after) } else { Ok(()) }
}

fn confine_pod_edit(before: &HostObject, after: &HostObject) -> Verdict<()> {
    if let Some(pointer) = powers::added(before, after) {
        return Err(refuse(
            &pointer,
            "a mapping must not give a pod more privileges than the tenant did".to_owned(),
        ));
    }
    match hosts_file::changed(before, after) {
        Some(pointer) => {
            let why = format!(
                "{HOSTS_FILE:?} is the syncer's own and stays first; a mapping must not add, remove or change it, but for \
                 its image, variables and resources"
            );
            Err(refuse(pointer, why))
        }
        None => Ok(()),
    }
}

/// Passes if an extension that may write `writes` may turn the virtual object `before` into `after`.
pub fn confine_virtual_edit(before: &VirtualObject, after: &VirtualObject, writes: &[String]) -> Verdict<()> {
    let open: Vec<&str> = writes.iter().map(String::as_str).collect();
    if let Some(pointer) = changed_outside(before.fields(), after.fields(), &open) {
        return Err(not_declared(&pointer, "virtual-writes"));
    }
    if !conditions::of_plugins(before).eq(conditions::of_plugins(after)) {
        return Err(refuse(
            "/status/conditions",
            "conditions of plugins come with their answers; they must not be written into the object"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The first place, as a pointer, where the two differ and that is not in or below one of `open`.
fn changed_outside(before: &Fields, after: &Fields, open: &[&str]) -> Option<String> {
    fn walk(before: Option<&Value>, after: Option<&Value>, at: &str, open: &[&str]) -> Option<String> {
        if before == after || open.contains(&at) {
            return None;
        }
        let inside = open.iter().any(|open| open.strip_prefix(at).is_some_and(|rest| rest.starts_with('/')));
        // Whoever has to declare the place needs the field itself, not the object that holds it.
        let are_both = before.is_some() && after.is_some();
        // A missing object is the same as an empty one on the way to a place that is open.
        let fields =
            |value: Option<&Value>| value.map_or(Some(Fields::new()), |value| value.as_object().cloned());
        match (fields(before), fields(after)) {
            (Some(before), Some(after)) if inside || are_both => walk_fields(&before, &after, at, open),
            _ => Some(at.to_owned()),
        }
    }
    fn walk_fields(before: &Fields, after: &Fields, at: &str, open: &[&str]) -> Option<String> {
        let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
        names.into_iter().find_map(|name| {
            let at = format!("{at}/{}", paths::escape(name));
            walk(before.get(name), after.get(name), &at, open)
        })
    }
    walk_fields(before, after, "", open)
}

/// The refusal of what is written at `pointer` and is not in `list`.
fn not_declared(pointer: &str, list: &str) -> Hold {
    // Nobody can declare metadata.
    let way_out =
        if pointer.starts_with("/metadata") { "" } else { "; the plugin's descriptor has to list it there" };
    refuse(pointer, format!("the mapping may not write it: it is not among its `{list}`{way_out}"))
}

/// The API checks labels and annotations; what it would misread is refused here.
fn well_formed_metadata(object: &HostObject) -> Verdict<()> {
    for (pointer, map) in [("labels", object.labels()), ("annotations", object.annotations())] {
        let other = map.into_iter().flatten().find(|(_, value)| !value.is_string());
        if let Some((key, _)) = other {
            return Err(refuse(
                &format!("/metadata/{pointer}"),
                format!("the value of {key:?} must be a string"),
            ));
        }
    }
    Ok(())
}

/// A virtual server that lies shows objects under names that no server gives, and their host names would lead elsewhere.
fn known_name(ctx: &Ctx<'_>, draft: &HostObject) -> Verdict<()> {
    if ctx.names.identity(draft).is_some_and(|_| ctx.names.is_ours(draft.name())) {
        return Ok(());
    }
    let why = format!("{:?} comes of no name and namespace that the API takes (RFC 1123)", draft.name());
    Err(refuse("/metadata/name", why))
}

fn same_identity(draft: &HostObject, result: &HostObject) -> Verdict<()> {
    for pointer in
        ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata/ownerReferences"]
    {
        if draft.pointer(pointer) != result.pointer(pointer) {
            return Err(refuse(pointer, "a mapping must not change it".to_owned()));
        }
    }
    for pointer in [
        "/metadata/finalizers",
        "/metadata/generateName",
        "/metadata/uid",
        "/metadata/resourceVersion",
        "/status",
    ] {
        if result.pointer(pointer).is_some() {
            return Err(refuse(pointer, "a mapping must not set it".to_owned()));
        }
    }
    Ok(())
}

fn same_reserved_metadata(draft: &HostObject, result: &HostObject) -> Verdict<()> {
    let reserved = |map: Option<&Fields>| -> Fields {
        let entries = map.into_iter().flatten();
        entries
            .filter(|(key, _)| labels::is_reserved(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    if reserved(draft.labels()) != reserved(result.labels()) {
        return Err(refuse(
            "/metadata/labels",
            "labels of the domain weft.dev are the syncer's own".to_owned(),
        ));
    }
    let reserved = |object: &HostObject| -> Fields {
        let map = reserved(object.annotations());
        map.into_iter().filter(|(key, _)| !key.starts_with(DOWNWARD_PREFIX)).collect()
    };
    if reserved(draft) != reserved(result) || result.annotation(IDENTITY).is_none() {
        return Err(refuse(
            "/metadata/annotations",
            "annotations of the domain weft.dev are the syncer's own".to_owned(),
        ));
    }
    Ok(())
}

fn known_references(ctx: &Ctx<'_>, references: &[Reference], result: &HostObject) -> Verdict<()> {
    if let Some(place) = references::misplaced(references, result) {
        let why = "a name belongs here, as a string: of anything else nobody knows what it names; remove it";
        return Err(refuse(&place, why.to_owned()));
    }
    for used in references::host_names(references, result) {
        if !ctx.names.is_ours(used.name) {
            return Err(foreign_name(used.path, used.name));
        }
        if let Some(namespace) = used.namespace.filter(|namespace| *namespace != ctx.names.namespace()) {
            return Err(refuse(
                used.path,
                format!("the host namespace {namespace:?} is not this virtual cluster's"),
            ));
        }
    }
    Ok(())
}

/// Refuses a name of an object that is not this tenant's.
fn foreign_name(pointer: &str, name: &str) -> Hold {
    refuse(pointer, format!("{name:?} is not the host name of an object of this virtual cluster"))
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// Whether the API takes the value for none. An empty object is something: `emptyDir: {}` is a volume.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn refuse(pointer: &str, why: String) -> Hold {
    Hold::refuse(By::Guard, field_name(pointer), why)
}

/// Kubernetes' notation of a pointer: `/spec/volumes/2/hostPath` is `spec.volumes[2].hostPath`.
pub fn field_name(pointer: &str) -> String {
    let mut name = String::new();
    for segment in pointer.split('/').skip(1).map(paths::unescape) {
        let is_key = segment.contains(['.', '/']);
        let is_index = segment == "*" || segment.bytes().all(|byte| byte.is_ascii_digit());
        let (before, after) = if is_index || is_key { ("[", "]") } else { (".", "") };
        // The first segment has nothing to be set apart from.
        name.extend([if name.is_empty() { "" } else { before }, &segment, after]);
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_that_is_not_declared_is_named_by_the_innermost_field() {
        let fields = |spec: Value| Fields::from_iter([("spec".to_owned(), spec)]);
        let before = fields(json!({"a": 1, "b": {"c": 1}}));
        let found = |spec: Value, open: &[&str]| changed_outside(&before, &fields(spec), open);
        assert_eq!(found(json!({"a": 1, "b": {"c": 2}}), &[]).as_deref(), Some("/spec/b/c"));
        assert_eq!(found(json!({"a": 1, "b": {"c": 1}, "d": {"e": 1}}), &[]).as_deref(), Some("/spec/d"));
        assert_eq!(found(json!({"a": 1}), &[]).as_deref(), Some("/spec/b"));
        assert_eq!(found(json!({"a": 2, "b": {"c": 1}}), &["/spec/b"]).as_deref(), Some("/spec/a"));
        assert_eq!(found(json!({"a": 1, "b": {"c": 2}}), &["/spec/b"]), None);
    }

    #[test]
    fn a_pointer_reads_like_a_kubernetes_field() {
        assert_eq!(field_name("/spec/volumes/2/hostPath"), "spec.volumes[2].hostPath");
        assert_eq!(field_name("/spec/volumes/*/secret/secretName"), "spec.volumes[*].secret.secretName");
        assert_eq!(field_name("/metadata/labels/app"), "metadata.labels.app");
        assert_eq!(field_name("/metadata/labels/example.com~1a"), "metadata.labels[example.com/a]");
    }
}
