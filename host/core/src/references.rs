//! Where objects name other objects, as one table used twice.
//!
//! The same entries rewrite names on the way to the host and answer "who uses this ConfigMap?", so
//! the two cannot drift apart.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

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
    fn holder(&self) -> (&str, Cow<'_, str>) {
        let (holder, field) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        (holder, paths::unescape(field))
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
    let fields = draft.fields_mut();
    let mut renaming = Renaming { names, done: HashSet::new() };
    // A reference that knows of a namespace beside the name comes before one that reaches the same name without it.
    let beside = || references.iter().filter_map(|it| Some((it.holder(), it.namespace_field.as_deref()?)));
    for ((holder, field), beside) in beside() {
        each_object_mut(fields, holder, &mut |found| {
            let other = text(found, beside).unwrap_or(namespace).to_owned();
            if let Some(name) = found.get_mut(&*field) {
                renaming.name(name, &other);
            }
        });
    }
    for reference in references.iter().filter(|reference| reference.namespace_field.is_none()) {
        paths::each_in_mut(fields, &reference.path, &mut |found| renaming.name(found, namespace));
    }
    // Last, because several names may have the same namespace beside them.
    for ((holder, _), beside) in beside() {
        each_object_mut(fields, holder, &mut |found| {
            if text(found, beside).is_some() {
                found.insert(beside.to_owned(), names.namespace().into());
            }
        });
    }
}

/// What has been renamed of one object.
struct Renaming<'a> {
    names: &'a Names,
    /// Where the names lie in memory. They are edited in place, so that none moves meanwhile.
    done: HashSet<*const Value>,
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
        self.done.insert(place);
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
    let find = |path: &str| no_string_in(object.fields(), "", path);
    references.iter().find_map(|reference| {
        let beside = reference.namespace_field.as_ref();
        let beside = beside.map(|field| format!("{}/{}", reference.holder().0, paths::escape(field)));
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
        (Value::Object(fields), Some(_)) => no_string_in(fields, at, path),
        _ => Some(at.to_owned()),
    }
}

fn no_string_in(fields: &Fields, at: &str, path: &str) -> Option<String> {
    match paths::next(path)? {
        ("*", rest) => fields
            .iter()
            .find_map(|(name, field)| no_string(field, &format!("{at}/{}", paths::escape(name)), rest)),
        (name, rest) => no_string(fields.get(&*paths::unescape(name))?, &format!("{at}/{name}"), rest),
    }
}

/// Calls `visit` with each name that is not empty, and with the namespace beside it.
fn each_name<'a>(reference: &Reference, fields: &'a Fields, visit: &mut dyn FnMut(&'a str, Option<&'a str>)) {
    let Some(beside) = &reference.namespace_field else {
        return paths::each_in(fields, &reference.path, &mut |found| {
            if let Some(name) = found.as_str().filter(|name| !name.is_empty()) {
                visit(name, None);
            }
        });
    };
    let (holder, field) = reference.holder();
    each_object(fields, holder, &mut |found| {
        if let Some(name) = text(found, &field) {
            visit(name, text(found, beside));
        }
    });
}

/// Calls `visit` with each object that `path` reaches from `fields`; an empty path leads to themselves.
fn each_object<'a>(fields: &'a Fields, path: &str, visit: &mut dyn FnMut(&'a Fields)) {
    if path.is_empty() {
        return visit(fields);
    }
    paths::each_in(fields, path, &mut |found| found.as_object().into_iter().for_each(&mut *visit));
}

/// The same, to edit.
fn each_object_mut(fields: &mut Fields, path: &str, visit: &mut dyn FnMut(&mut Fields)) {
    if path.is_empty() {
        return visit(fields);
    }
    paths::each_in_mut(fields, path, &mut |found| found.as_object_mut().into_iter().for_each(&mut *visit));
}

/// The string in a field, if it is not empty.
fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
