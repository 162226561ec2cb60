//! What becomes of each field of a built-in kind on the host: tables for people to review, and for the guard to obey.
//!
//! A table is a file of `fields/`, one line for a field or several: path, class, minors, reason. The fields are those of
//! the Go types that the API server's `OpenAPI` is generated from; `tests/suite/fields.rs` holds the tables against them.
//!
//! - `[]` in a path stands for each element of a list, `{}` for each value of a map, and `(a|b)` for a and for b. A word
//!   in capitals stands for the path that it was given above, as in `PROBE = …`.
//! - `.*` at the end of a path stands for every field that the table does not name beside those it does.
//! - A field that is dropped or refused stands for everything inside it.
//! - Minors say which of the supported versions of Kubernetes have the field, where not all do: `1.37+`, or `1.35` alone.
//! - The reason of what is dropped or refused is what a tenant reads.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::object::ResourceType;

mod parse;

pub use parse::{Error, Line, Minors, lines};

/// The tables: group and kind, and the file. Each has the lines of [`METADATA`] as well.
const TABLES: &[(&str, &str, &str)] = &[
    ("", "ConfigMap", include_str!("fields/config_map.txt")),
    ("", "Endpoints", include_str!("fields/endpoints.txt")),
    ("", "PersistentVolumeClaim", include_str!("fields/persistent_volume_claim.txt")),
    ("", "Pod", include_str!("fields/pod.txt")),
    ("", "Secret", include_str!("fields/secret.txt")),
    ("", "Service", include_str!("fields/service.txt")),
    ("discovery.k8s.io", "EndpointSlice", include_str!("fields/endpoint_slice.txt")),
];
const METADATA: &str = include_str!("fields/metadata.txt");

/// What is refused when a table cannot be read, which a test rules out: everything.
const UNREADABLE: Rule =
    Rule { class: Class::Refuse, reason: "the table of its kind's fields cannot be read" };

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It concerns the tenant's object alone.
    Copy,
    /// Translation makes another value of it, and [`crate::confine`] compares the result where it matters.
    Rewrite,
    /// It names an object: the kind's references have it.
    Reference,
    /// It selects pods: the kind's selectors have it.
    Selector,
    /// It does or takes something of the host: a setting of the operator's allows it.
    Power,
    /// Translation leaves it out. What puts it back is refused.
    Drop,
    /// An object that has it has no host object.
    Refuse,
}

/// What a table says of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What becomes of it.
    pub class: Class,
    /// Why; empty where it is copied.
    pub reason: &'static str,
}

/// A field of a kind, with what is inside it.
#[derive(Debug, Default)]
pub struct Field {
    rule: Option<Rule>,
    /// What holds of fields inside it that no line names.
    others: Option<Rule>,
    fields: BTreeMap<String, Field>,
    elements: Option<Box<Field>>,
    values: Option<Box<Field>>,
}

/// The objects of this kind, as a field with everything inside it; none of a kind that is not built in.
///
/// Kinds are known by group and name: in any version, and however they were added.
pub fn of(resource: &ResourceType) -> Option<&'static Field> {
    /// Each table, in the order of [`TABLES`].
    static READ: LazyLock<Vec<Field>> =
        LazyLock::new(|| TABLES.iter().map(|(_, _, text)| read(text)).collect());
    let is_of = |(group, kind, _): &(&str, &str, &str)| *group == resource.group && *kind == resource.kind;
    READ.get(TABLES.iter().position(is_of)?)
}

/// Every table as text, by kind: its own lines, and those of the metadata.
pub fn texts() -> impl Iterator<Item = (&'static str, [&'static str; 2])> {
    TABLES.iter().map(|(_, kind, text)| (*kind, [*text, METADATA]))
}

fn read(text: &'static str) -> Field {
    let mut whole = Field::default();
    for text in [text, METADATA] {
        match lines(text) {
            Ok(lines) => lines.iter().for_each(|line| whole.add(&line.path, line.rule)),
            Err(_) => return Field { others: Some(UNREADABLE), ..Field::default() },
        }
    }
    whole
}

impl Field {
    /// Why no host object may have it, if none may.
    pub fn forbidden(&self) -> Option<&'static str> {
        self.rule.and_then(Rule::forbids)
    }

    /// Why no host object may have a field inside it that the table does not name, if none may.
    pub fn others_forbidden(&self) -> Option<&'static str> {
        self.others.and_then(Rule::forbids)
    }

    /// The field `name` inside it.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields.get(name)
    }

    /// Each element of it, if it is a list.
    pub fn elements(&self) -> Option<&Self> {
        self.elements.as_deref()
    }

    /// Each value in it, if it is a map, whose keys are the tenant's.
    pub fn values(&self) -> Option<&Self> {
        self.values.as_deref()
    }

    /// Whether it has fields inside it, as far as the table says.
    pub fn has_fields(&self) -> bool {
        !self.fields.is_empty() || self.others.is_some()
    }

    fn add(&mut self, path: &str, rule: Rule) {
        let mut field = self;
        for segment in path.split('.') {
            let (name, kinds) = segment.split_at(segment.find(['[', '{']).unwrap_or(segment.len()));
            if name == "*" {
                field.others = Some(rule);
                return;
            }
            field = field.fields.entry(name.to_owned()).or_default();
            for kind in kinds.chars().filter(|sign| matches!(sign, '[' | '{')) {
                let inside = if kind == '[' { &mut field.elements } else { &mut field.values };
                field = inside.get_or_insert_default();
            }
        }
        field.rule = Some(rule);
    }
}

impl Rule {
    fn forbids(self) -> Option<&'static str> {
        matches!(self.class, Class::Drop | Class::Refuse).then_some(self.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_table_can_be_read_and_names_each_field_once() {
        for (kind, texts) in texts() {
            let mut seen = BTreeSet::new();
            for line in texts.into_iter().flat_map(|text| lines(text).unwrap()) {
                assert!(seen.insert(line.path.clone()), "{kind}: {} is there twice", line.path);
            }
        }
    }

    #[test]
    fn every_built_in_kind_has_a_table() {
        for mapper in crate::kinds::builtin() {
            assert!(of(&mapper.spec().resource).is_some(), "{:?}", mapper.spec().resource.kind);
        }
        assert!(of(&ResourceType::core("Widget", "widgets")).is_none());
    }

    #[test]
    fn a_table_that_cannot_be_read_lets_nothing_pass() {
        let field = read("spec.a   copied");
        assert_eq!(field.field("spec").map(Field::has_fields), None);
        assert_eq!(field.others_forbidden(), Some(UNREADABLE.reason));
    }

    #[test]
    fn lists_maps_and_fields_lie_inside_one_another() {
        let field =
            read("spec.a[].b{}   copy\nspec.a[].*   refuse   nobody knows it\nspec.c   drop   it goes");
        let spec = field.field("spec").unwrap();
        let element = spec.field("a").and_then(Field::elements).unwrap();
        assert!(element.field("b").and_then(Field::values).is_some());
        assert_eq!(element.others_forbidden(), Some("nobody knows it"));
        assert_eq!(spec.field("c").and_then(Field::forbidden), Some("it goes"));
        assert_eq!((spec.forbidden(), spec.others_forbidden()), (None, None));
    }
}
