//! What becomes of each field of a built-in kind on its way: tables for people to review, and for the guard to obey.
//!
//! One table of a kind is of what the tenant writes, on the way to the host; another of the host's `status`, on the way back.
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

use crate::object::{Fields, ResourceType};

mod parse;
mod suspect;
mod way_back;

pub use parse::{Error, Line, Minors, lines};
pub use suspect::is_suspect;

/// The tables of one kind.
struct Source {
    group: &'static str,
    kind: &'static str,
    /// What becomes of what the tenant writes. The lines of [`METADATA`] belong to it as well.
    to_host: &'static str,
    /// What the tenant sees of the host object's status, where the kind has one.
    status: &'static str,
}

const SOURCES: &[Source] = &[
    Source { kind: "ConfigMap", to_host: include_str!("fields/config_map.txt"), ..CORE },
    Source { kind: "Endpoints", to_host: include_str!("fields/endpoints.txt"), ..CORE },
    Source {
        kind: "PersistentVolumeClaim",
        to_host: include_str!("fields/persistent_volume_claim.txt"),
        status: include_str!("fields/persistent_volume_claim_status.txt"),
        ..CORE
    },
    Source {
        kind: "Pod",
        to_host: include_str!("fields/pod.txt"),
        status: include_str!("fields/pod_status.txt"),
        ..CORE
    },
    Source { kind: "Secret", to_host: include_str!("fields/secret.txt"), ..CORE },
    Source {
        kind: "Service",
        to_host: include_str!("fields/service.txt"),
        status: include_str!("fields/service_status.txt"),
        ..CORE
    },
    Source {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        to_host: include_str!("fields/endpoint_slice.txt"),
        ..CORE
    },
];
const CORE: Source = Source { group: "", kind: "", to_host: "", status: "" };
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
    /// It is left out. A host object that has it all the same is refused.
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

/// The tables of one kind, read.
struct Tables {
    to_host: Field,
    status: Field,
}

/// The host objects of this kind, as a field with everything inside it; none of a kind that is not built in.
///
/// Kinds are known by group and name: in any version, and however they were added.
pub fn of(resource: &ResourceType) -> Option<&'static Field> {
    tables(resource).map(|tables| &tables.to_host)
}

/// What the tenant sees of `status`, which a host object of this kind has; how it is called in the virtual cluster is not
/// decided here.
pub fn shown_status(resource: &ResourceType, status: &Fields) -> Fields {
    let mut shown = status.clone();
    let table = tables(resource).and_then(|tables| tables.status.field("status"));
    way_back::leave_out(table, &mut shown);
    shown
}

/// The tables as text, of each kind: those of what the tenant writes, and that of what it sees of the host's status.
pub fn texts() -> impl Iterator<Item = (&'static str, [&'static str; 2], &'static str)> {
    SOURCES.iter().map(|source| (source.kind, [source.to_host, METADATA], source.status))
}

fn tables(resource: &ResourceType) -> Option<&'static Tables> {
    /// In the order of [`SOURCES`].
    static READ: LazyLock<Vec<Tables>> = LazyLock::new(|| {
        let read = |source: &Source| Tables {
            to_host: read(&[source.to_host, METADATA]),
            status: read(&[source.status]),
        };
        SOURCES.iter().map(read).collect()
    });
    let is_of = |source: &Source| source.group == resource.group && source.kind == resource.kind;
    READ.get(SOURCES.iter().position(is_of)?)
}

fn read(texts: &[&'static str]) -> Field {
    let mut whole = Field::default();
    for text in texts {
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
        for (kind, to_host, status) in texts() {
            for texts in [to_host.as_slice(), &[status]] {
                let mut seen = BTreeSet::new();
                for line in texts.iter().flat_map(|text| lines(text).unwrap()) {
                    assert!(seen.insert(line.path.clone()), "{kind}: {} is there twice", line.path);
                }
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
        let field = read(&["spec.a   copied"]);
        assert!(field.field("spec").is_none());
        assert_eq!(field.others_forbidden(), Some(UNREADABLE.reason));
    }

    #[test]
    fn lists_maps_and_fields_lie_inside_one_another() {
        let field =
            read(&["spec.a[].b{}   copy\nspec.a[].*   refuse   nobody knows it", "spec.c   drop   it goes"]);
        let spec = field.field("spec").unwrap();
        let element = spec.field("a").and_then(Field::elements).unwrap();
        assert!(element.field("b").and_then(Field::values).is_some());
        assert_eq!(element.others_forbidden(), Some("nobody knows it"));
        assert_eq!(spec.field("c").and_then(Field::forbidden), Some("it goes"));
        assert_eq!((spec.forbidden(), spec.others_forbidden()), (None, None));
    }
}
