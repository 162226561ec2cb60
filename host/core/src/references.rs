//! Where objects name other objects, as one table used twice.
//!
//! The same entries rewrite names on the way to the host and answer "who uses this ConfigMap?", so
//! the two cannot drift apart.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::names::Names;
use crate::object::{HostObject, Key, Kind, VirtualName, VirtualObject};
use crate::paths;

/// One place that names another object of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Path to the name, with `*` for every element: `/spec/volumes/*/secret/secretName`.
    pub path: String,
    /// The kind that is named.
    pub kind: Kind,
}

impl Reference {
    /// The place `path`, which names objects of `kind` (`v1/Secret`).
    pub fn new(path: &str, kind: &str) -> Self {
        Self { path: path.to_owned(), kind: Kind::new(kind) }
    }
}

/// The objects that `source` names, each once.
pub fn targets(references: &[Reference], source: &VirtualObject) -> BTreeSet<Key> {
    let mut found = BTreeSet::new();
    for reference in references {
        each_name(source.fields().get(root(&reference.path)), &reference.path, &mut |name| {
            let name = VirtualName::new(source.namespace(), name);
            found.insert(Key { kind: reference.kind.clone(), name });
        });
    }
    found
}

/// Rewrites every name in `draft`, which lies in the virtual namespace `namespace`, to the host's.
pub fn rewrite(references: &[Reference], names: &Names, namespace: &str, draft: &mut HostObject) {
    for reference in references {
        let (root, rest) = split(&reference.path);
        let Some(value) = draft.fields_mut().get_mut(root) else { continue };
        paths::each_mut(value, rest, &mut |found| {
            if let Value::String(name) = found
                && !name.is_empty()
            {
                *name = names.host_name(&VirtualName::new(namespace, name.as_str())).to_string();
            }
        });
    }
}

/// The host names that `object` uses, each with the path that holds it.
pub fn host_names<'a>(references: &'a [Reference], object: &'a HostObject) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for reference in references {
        each_name(object.fields().get(root(&reference.path)), &reference.path, &mut |name| {
            found.push((reference.path.as_str(), name));
        });
    }
    found
}

fn each_name<'a>(value: Option<&'a Value>, path: &str, visit: &mut dyn FnMut(&'a str)) {
    let Some(value) = value else { return };
    paths::each(value, split(path).1, &mut |found| {
        if let Some(name) = found.as_str().filter(|name| !name.is_empty()) {
            visit(name);
        }
    });
}

fn root(path: &str) -> &str {
    split(path).0
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
        assert_eq!(host_names(&table(), &draft), [("/spec/volumes/*/secret/secretName", "s-x-n-x-vc")]);
    }
}
