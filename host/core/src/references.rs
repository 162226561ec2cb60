//! Where objects name other objects, as one table used twice.
//!
//! The same entries rewrite names on the way to the host and answer "who uses this ConfigMap?", so
//! the two cannot drift apart.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::names::Names;
use crate::object::{Fields, HostObject, Key, Kind, VirtualName, VirtualObject};
use crate::paths;

/// One place that names another object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Path to the name, with `*` for every element: `/spec/volumes/*/secret/secretName`. In front of the name
    /// may stand the referring object's own namespace and a slash, as annotations have it.
    pub path: String,
    /// The kind that is named.
    pub kind: Kind,
    /// The field beside the name that holds a namespace; the referring object's is meant where it is empty.
    pub namespace_field: Option<String>,
}

impl Reference {
    /// The place `path`, which names objects of `kind` (`v1/Secret`) of the same namespace.
    pub fn new(path: &str, kind: &str) -> Self {
        Self { path: path.to_owned(), kind: Kind::new(kind), namespace_field: None }
    }

    /// The label `key`, whose value names an object of `kind` of the same namespace.
    pub fn in_label((key, kind): (&str, &str)) -> Self {
        Self::new(&format!("/metadata/labels/{}", paths::escape(key)), kind)
    }

    /// Path to what holds the name, and the name's field.
    fn holder(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }
}

/// The objects that `source` names, each once.
pub fn targets(references: &[Reference], source: &VirtualObject) -> BTreeSet<Key> {
    let mut found = BTreeSet::new();
    for reference in references {
        each_name(reference, source.fields(), &mut |name, namespace| {
            let Some(name) = without_own(name, source.namespace()) else { return };
            let name = VirtualName::new(namespace.unwrap_or(source.namespace()), name);
            found.insert(Key { kind: reference.kind.clone(), name });
        });
    }
    found
}

/// Rewrites every name in `draft`, which lies in the virtual namespace `namespace`, to the host's: once, also where
/// several references reach the same place. A namespace in front of a name or beside it becomes the host's.
pub fn rewrite(references: &[Reference], names: &Names, namespace: &str, draft: &mut HostObject) {
    let mut renaming = Renaming { names, done: Vec::new() };
    for reference in references {
        let (holder, field) = reference.holder();
        let path = if reference.namespace_field.is_some() { holder } else { &reference.path };
        let (root, rest) = split(path);
        let Some(value) = draft.fields_mut().get_mut(root) else { continue };
        paths::each_mut(value, rest, &mut |found| match &reference.namespace_field {
            None => renaming.name(found, namespace),
            Some(beside) => renaming.name_and_namespace(found, field, beside, namespace),
        });
    }
}

/// What has been renamed of one object.
struct Renaming<'a> {
    names: &'a Names,
    /// Where the names lie in memory. They are edited in place, so that none moves meanwhile.
    done: Vec<*const Value>,
}

impl Renaming<'_> {
    /// Rewrites a name.
    fn name(&mut self, found: &mut Value, namespace: &str) {
        let place = std::ptr::from_ref::<Value>(found);
        let Value::String(text) = found else { return };
        let Some(own) = without_own(text, namespace).filter(|_| !self.done.contains(&place)) else { return };
        let host_name = self.names.host_name(&VirtualName::new(namespace, own));
        let front = if text.contains('/') { format!("{}/", self.names.namespace()) } else { String::new() };
        *text = format!("{front}{host_name}");
        self.done.push(place);
    }

    /// Rewrites the name in `field` and the namespace in the field `beside` it.
    fn name_and_namespace(&mut self, found: &mut Value, field: &str, beside: &str, namespace: &str) {
        let Value::Object(fields) = found else { return };
        let named = text(fields, beside).map(str::to_owned);
        if let Some(name) = fields.get_mut(field) {
            self.name(name, named.as_deref().unwrap_or(namespace));
        }
        if named.is_some() {
            fields.insert(beside.to_owned(), self.names.namespace().into());
        }
    }
}

/// The first place of `source` that names an object of another namespace, or nothing that could be a name: its path and
/// what stands there.
pub fn elsewhere<'a>(references: &'a [Reference], source: &'a VirtualObject) -> Option<(&'a str, &'a str)> {
    references.iter().find_map(|reference| {
        let mut found = None;
        each_name(reference, source.fields(), &mut |name, _| {
            let is_own = without_own(name, source.namespace()).is_some();
            found = found.or((!is_own).then_some((&*reference.path, name)));
        });
        found
    })
}

/// The name in `name` or `namespace/name`; none where that is another namespace, or where there is no name.
fn without_own<'a>(text: &'a str, namespace: &str) -> Option<&'a str> {
    let name = match text.split_once('/') {
        None => text,
        Some((other, name)) => Some(name).filter(|_| other == namespace)?,
    };
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// A name that a host object uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used<'a> {
    /// The path that holds it.
    pub path: &'a str,
    /// The host name.
    pub name: &'a str,
    /// The namespace in front of it or beside it, where there is one.
    pub namespace: Option<&'a str>,
}

/// The host names that `object` uses, each with the path that holds it.
pub fn host_names<'a>(references: &'a [Reference], object: &'a HostObject) -> Vec<Used<'a>> {
    let mut found = Vec::new();
    for reference in references {
        each_name(reference, object.fields(), &mut |text, beside| {
            let (front, name) = match text.split_once('/') {
                Some((front, name)) if reference.namespace_field.is_none() => (Some(front), name),
                _ => (None, text),
            };
            found.push(Used { path: &reference.path, name, namespace: beside.or(front) });
        });
    }
    found
}

/// The first place, as a pointer, that `references` say holds a name or a namespace, and that holds something else: what
/// is no string is neither renamed nor judged. `null` and a missing field hold nothing.
pub fn misplaced(references: &[Reference], object: &HostObject) -> Option<String> {
    let find = |path: &str| {
        let (root, rest) = split(path);
        no_string(object.fields().get(root)?, &format!("/{root}"), rest)
    };
    references.iter().find_map(|reference| {
        let beside = reference.namespace_field.as_ref();
        let beside = beside.map(|field| format!("{}/{field}", reference.holder().0));
        find(&reference.path).or_else(|| beside.and_then(|path| find(&path)))
    })
}

/// The first place on the way along `path`, which begins at `at`, that holds neither what the path needs nor nothing.
fn no_string(value: &Value, at: &str, path: &str) -> Option<String> {
    match (value, paths::next(path)) {
        (Value::Null, _) | (Value::String(_), None) => None,
        (Value::Array(items), Some(("*", rest))) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| no_string(item, &format!("{at}/{index}"), rest))
        }
        (Value::Object(fields), Some(("*", rest))) => fields
            .iter()
            .find_map(|(name, field)| no_string(field, &format!("{at}/{}", paths::escape(name)), rest)),
        (Value::Object(fields), Some((name, rest))) => {
            no_string(fields.get(&*paths::unescape(name))?, &format!("{at}/{name}"), rest)
        }
        _ => Some(at.to_owned()),
    }
}

/// Calls `visit` with each name that is not empty, and with the namespace beside it.
fn each_name<'a>(reference: &Reference, fields: &'a Fields, visit: &mut dyn FnMut(&'a str, Option<&'a str>)) {
    if let Some(namespace_field) = &reference.namespace_field {
        let (holder, field) = reference.holder();
        let (root, rest) = split(holder);
        let Some(value) = fields.get(root) else { return };
        paths::each(value, rest, &mut |found| {
            let Some(fields) = found.as_object() else { return };
            if let Some(name) = text(fields, field) {
                visit(name, text(fields, namespace_field));
            }
        });
        return;
    }
    let (root, rest) = split(&reference.path);
    let Some(value) = fields.get(root) else { return };
    paths::each(value, rest, &mut |found| {
        if let Some(name) = found.as_str().filter(|name| !name.is_empty()) {
            visit(name, None);
        }
    });
}

/// The string in a field, if it is not empty.
fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The first segment and the rest: `("spec", "/volumes/*/…")`.
fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_at_checked(path.find('/').unwrap_or(path.len())).unwrap_or((path, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Vec<Reference> {
        vec![Reference::new("/spec/volumes/*/secret/secretName", "v1/Secret")]
    }

    #[test]
    fn the_same_table_finds_and_rewrites() {
        let names = Names::new("vc", "team-a").unwrap();
        let json = json!({"metadata": {"namespace": "n"}, "spec": {"volumes": [{"secret": {"secretName": "s"}}, {"emptyDir": {}}]}});
        let source = VirtualObject::from_json(json.clone()).unwrap();
        let found: Vec<String> = targets(&table(), &source).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["Secret n/s"]);
        let mut draft = HostObject::from_json(json).unwrap();
        rewrite(&table(), &names, "n", &mut draft);
        let used = Used { path: "/spec/volumes/*/secret/secretName", name: "s-x-n-x-vc", namespace: None };
        assert_eq!(host_names(&table(), &draft), [used]);
    }

    #[test]
    fn an_annotation_names_objects_of_its_own_namespace() {
        let names = Names::new("vc", "team-a").unwrap();
        let reference = Reference::new("/metadata/annotations/example.com~1secret", "v1/Secret");
        let references = std::slice::from_ref(&reference);
        let after = |text: &str| {
            let json = json!({"metadata": {"namespace": "n", "annotations": {"example.com/secret": text}}});
            let mut draft = HostObject::from_json(json.clone()).unwrap();
            rewrite(references, &names, "n", &mut draft);
            let source = VirtualObject::from_json(json).unwrap();
            let found: Vec<String> = targets(references, &source).iter().map(ToString::to_string).collect();
            (found, draft.annotation("example.com/secret").unwrap().to_owned())
        };
        assert_eq!(after("s"), (vec!["Secret n/s".to_owned()], "s-x-n-x-vc".to_owned()));
        assert_eq!(after("n/s"), (vec!["Secret n/s".to_owned()], "team-a/s-x-n-x-vc".to_owned()));
        for other in ["m/s", "n/", "n/s/t", "/s", "/", "team-a/s-x-m-x-vc"] {
            assert_eq!(after(other), (Vec::new(), other.to_owned()));
            let json = json!({"metadata": {"namespace": "n", "annotations": {"example.com/secret": other}}});
            let source = VirtualObject::from_json(json).unwrap();
            assert_eq!(elsewhere(references, &source), Some((&*reference.path, other)));
        }
    }

    #[test]
    fn a_name_that_several_references_reach_is_translated_once() {
        let names = Names::new("vc", "team-a").unwrap();
        let beside = |path: &str| Reference {
            namespace_field: Some("namespace".to_owned()),
            ..Reference::new(path, "v1/Secret")
        };
        let all = [
            Reference::new("/spec/ref/name", "v1/Secret"),
            Reference::new("/spec/ref/name", "v1/ConfigMap"),
            Reference::new("/spec/*/name", "v1/Secret"),
            beside("/spec/ref/name"),
            beside("/spec/*/name"),
        ];
        for first in 0..all.len() {
            let mut references = all.to_vec();
            references.rotate_left(first);
            let json = json!({"metadata": {"namespace": "n"}, "spec": {"ref": {"name": "s"}, "other": {"name": "s"}}});
            let mut draft = HostObject::from_json(json).unwrap();
            rewrite(&references, &names, "n", &mut draft);
            let once = json!({"ref": {"name": "s-x-n-x-vc"}, "other": {"name": "s-x-n-x-vc"}});
            assert_eq!(draft.pointer("/spec"), Some(&once), "{references:?}");
        }
    }

    #[test]
    fn what_is_no_string_where_a_name_belongs_is_found() {
        let mut beside = Reference::new("/spec/ref/name", "v1/Secret");
        beside.namespace_field = Some("namespace".to_owned());
        let references = [table(), vec![beside]].concat();
        let found =
            |spec: Value| misplaced(&references, &HostObject::from_json(json!({"spec": spec})).unwrap());
        for fine in [
            json!(null),
            json!({"volumes": null, "ref": {"name": null}}),
            json!({"volumes": [null, {"secret": null}, {"secret": {"secretName": "s"}}], "ref": {"name": ""}}),
            json!({"volumes": {"a": {"secret": {"secretName": "s"}}}, "ref": {"name": "a", "namespace": "n"}}),
        ] {
            assert_eq!(found(fine.clone()), None, "{fine}");
        }
        for (spec, place) in [
            (json!([]), "/spec"),
            (json!({"volumes": "all"}), "/spec/volumes"),
            (json!({"volumes": [{"secret": {"secretName": ["s"]}}]}), "/spec/volumes/0/secret/secretName"),
            (json!({"volumes": [{"secret": [{"secretName": "s"}]}]}), "/spec/volumes/0/secret"),
            (json!({"volumes": {"a/b": {"secret": 7}}}), "/spec/volumes/a~1b/secret"),
            (json!({"ref": [{"name": "s"}]}), "/spec/ref"),
            (json!({"ref": {"name": {"is": "s"}}}), "/spec/ref/name"),
            (json!({"ref": {"name": "s", "namespace": ["m"]}}), "/spec/ref/namespace"),
        ] {
            assert_eq!(found(spec.clone()).as_deref(), Some(place), "{spec}");
        }
    }

    #[test]
    fn a_namespace_beside_the_name_is_used_and_becomes_the_hosts() {
        let names = Names::new("vc", "team-a").unwrap();
        let mut reference = Reference::new("/spec/backends/*/name", "v1/Service");
        reference.namespace_field = Some("namespace".to_owned());
        let json = json!({"metadata": {"namespace": "n"}, "spec": {"backends": [{"name": "a", "namespace": "m"}, {"name": "b"}]}});
        let source = VirtualObject::from_json(json.clone()).unwrap();
        let found: Vec<String> =
            targets(std::slice::from_ref(&reference), &source).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["Service m/a", "Service n/b"]);
        let mut draft = HostObject::from_json(json).unwrap();
        rewrite(&[reference], &names, "n", &mut draft);
        assert_eq!(
            draft.pointer("/spec/backends"),
            Some(&json!([{"name": "a-x-m-x-vc", "namespace": "team-a"}, {"name": "b-x-n-x-vc"}]))
        );
    }
}
