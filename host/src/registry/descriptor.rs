//! What a component says about itself, and whether it makes sense.

use std::fmt;

use weft_core::declared::Declaration;
use weft_core::declared::check::{self, MOST, check_resource};
use weft_core::names::is_dns_label;
use weft_core::object::{Kind, ResourceType};
use weft_core::references::Reference;
use weft_core::spec::Selection;

use crate::config::grants::Side;

/// What a component says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Name of the plugin.
    pub name: String,
    /// Semantic version of the plugin.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// The kinds that it maps.
    pub mappings: Vec<Mapping>,
    /// What it wants to read.
    pub lookups: Vec<LookupPermission>,
    /// JSON Schema of its settings, as a string.
    pub settings_schema: Option<String>,
    /// Whether answers depend on the time.
    pub uses_time: bool,
}

/// One kind that a plugin maps.
#[expect(clippy::struct_excessive_bools, reason = "the flags of the interface")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The kind.
    pub resource: ResourceType,
    /// What the plugin is to it.
    pub role: Role,
    /// Called when the host object is to be written.
    pub to_host: bool,
    /// Called when something flows back.
    pub to_virtual: bool,
    /// Wants the tenant's object.
    pub wants_virtual: bool,
    /// Wants the host object.
    pub wants_host: bool,
    /// Which virtual objects get a host object.
    pub selection: Selection,
    /// Where objects name others.
    pub references: Vec<Reference>,
    /// Label selectors of pods.
    pub selectors: Vec<String>,
    /// What may be changed on the host object.
    pub host_writes: Vec<String>,
    /// What may be changed on the virtual object.
    pub virtual_writes: Vec<String>,
    /// Have the host's definition installed in the virtual cluster.
    pub installs_definition: bool,
}

/// What a plugin is to a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It maps a kind that nobody maps yet.
    Add,
    /// It replaces the built-in rule.
    Override,
    /// It runs after whoever has the kind; low numbers first.
    Mutate(u32),
}

/// Something that a plugin wants to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupPermission {
    /// Of which cluster.
    pub side: Side,
    /// Of which kind.
    pub resource: ResourceType,
    /// Only these fields; all when empty.
    pub fields: Vec<String>,
}

/// Why a descriptor is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the descriptor's {field} {why}")]
pub struct Invalid {
    /// The field, as in `wit/types.wit`.
    pub field: String,
    /// What is wrong and what to do.
    pub why: String,
}

impl Descriptor {
    /// Passes if the descriptor makes sense, whatever the operator grants.
    pub fn check(&self) -> Result<(), Invalid> {
        if !is_dns_label(&self.name) {
            return Err(invalid("name", format!("{:?} must be an RFC 1123 label", self.name)));
        }
        if self.mappings.is_empty() || self.mappings.len() > MOST || self.lookups.len() > MOST {
            return Err(invalid("mappings", format!("must be 1 to {MOST}, and lookups no more than {MOST}")));
        }
        for (index, mapping) in self.mappings.iter().enumerate() {
            mapping.check(&format!("mappings[{index}]"))?;
            let kind = mapping.resource.kind();
            let twice = self.mappings.iter().take(index).any(|other| other.resource.kind() == kind);
            if twice {
                return Err(invalid(&format!("mappings[{index}].kind"), format!("{kind} is mapped twice")));
            }
        }
        for (index, lookup) in self.lookups.iter().enumerate() {
            check_resource(&format!("lookups[{index}]"), &lookup.resource)?;
        }
        Ok(())
    }
}

impl Mapping {
    pub(crate) fn check(&self, at: &str) -> Result<(), Invalid> {
        self.declaration().check(at)?;
        if self.role == Role::Override && self.resource.kind().as_str() == "v1/Pod" {
            let why = "the rules of pods cannot be overridden by a plugin: let it mutate them".to_owned();
            return Err(invalid(&format!("{at}.role"), why));
        }
        if !self.to_host && !self.to_virtual {
            return Err(invalid(&format!("{at}.directions"), "must name at least one".to_owned()));
        }
        Ok(())
    }

    /// What the mapping declares of the kind, whatever its role.
    pub(super) fn declaration(&self) -> Declaration {
        Declaration {
            resource: self.resource.clone(),
            selection: self.selection,
            references: self.references.clone(),
            selectors: self.selectors.clone(),
            labels: Vec::new(),
            managed: self.host_writes.clone(),
            back: self.virtual_writes.clone(),
            installs_definition: self.installs_definition,
            acts_for_others: false,
        }
    }
}

/// With the field names of the interface.
impl From<check::Invalid> for Invalid {
    fn from(invalid: check::Invalid) -> Self {
        let (at, field) = invalid.field.rsplit_once('.').unwrap_or(("", &invalid.field));
        let field = match field {
            "managed" => "host-writes",
            "back" => "virtual-writes",
            field => field,
        };
        let field = if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
        Self { field, why: invalid.why }
    }
}

fn invalid(field: &str, why: String) -> Invalid {
    Invalid { field: field.to_owned(), why }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add => f.write_str("add"),
            Self::Override => f.write_str("override"),
            Self::Mutate(order) => write!(f, "mutate({order})"),
        }
    }
}

impl Role {
    /// Where a rule of this role comes among the rules of its kind; ties are in the order of the plugins' names.
    pub fn order(self) -> u64 {
        match self {
            Self::Add | Self::Override => 0,
            Self::Mutate(order) => u64::from(order).saturating_add(1),
        }
    }
}

impl LookupPermission {
    /// The kind that may be read.
    pub fn kind(&self) -> Kind {
        self.resource.kind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::registry::testing::{cat, descriptor, mapping};

    /// Why a descriptor with this mapping is refused; empty if it is not.
    fn refused(mapping: Mapping) -> String {
        let checked = descriptor("p", vec![mapping]).check();
        checked.err().map(|invalid| invalid.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_descriptor_that_makes_sense_passes() {
        assert_eq!(refused(mapping(cat(), Role::Add)), "");
    }

    #[test]
    fn fields_are_named_as_in_the_interface() {
        let writes = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let host = Mapping { host_writes: writes(&["/metadata"]), ..mapping(cat(), Role::Add) };
        assert!(refused(host).starts_with("the descriptor's mappings[0].host-writes "));
        let back = Mapping { virtual_writes: writes(&["/metadata"]), ..mapping(cat(), Role::Add) };
        assert!(refused(back).starts_with("the descriptor's mappings[0].virtual-writes "));
    }

    #[test]
    fn the_rules_of_pods_can_be_mutated_and_not_overridden() {
        let pod = || ResourceType::core("Pod", "pods");
        assert_eq!(refused(mapping(pod(), Role::Mutate(1))), "");
        assert!(refused(mapping(pod(), Role::Override)).starts_with("the descriptor's mappings[0].role "));
    }

    #[test]
    fn a_mapping_needs_a_direction() {
        let idle = Mapping { to_host: false, to_virtual: false, ..mapping(cat(), Role::Add) };
        assert_eq!(refused(idle), "the descriptor's mappings[0].directions must name at least one");
    }

    #[test]
    fn a_name_is_a_label_and_a_kind_is_mapped_once() {
        let unnamed = descriptor("A plugin", vec![mapping(cat(), Role::Add)]).check().unwrap_err();
        assert_eq!(unnamed.field, "name");
        let twice = vec![mapping(cat(), Role::Add), mapping(cat(), Role::Mutate(1))];
        let twice = descriptor("p", twice).check().unwrap_err().to_string();
        assert_eq!(twice, "the descriptor's mappings[1].kind example.com/v1/Cat is mapped twice");
    }

    #[test]
    fn there_is_at_least_one_mapping_and_not_too_many_of_anything() {
        assert_eq!(descriptor("p", vec![]).check().unwrap_err().field, "mappings");
        let lookup = LookupPermission { side: Side::Virtual, resource: cat(), fields: Vec::new() };
        let greedy = descriptor("p", vec![mapping(cat(), Role::Add)]);
        let with = |count| Descriptor { lookups: vec![lookup.clone(); count], ..greedy.clone() };
        assert_eq!((with(MOST).check(), with(MOST + 1).check().is_err()), (Ok(()), true));
    }

    #[test]
    fn a_lookup_of_what_is_no_kind_is_refused_with_its_place() {
        let resource = ResourceType { plural: "Cats".into(), ..cat() };
        let lookup = LookupPermission { side: Side::Virtual, resource, fields: Vec::new() };
        let descriptor =
            Descriptor { lookups: vec![lookup], ..descriptor("p", vec![mapping(cat(), Role::Add)]) };
        assert_eq!(descriptor.check().unwrap_err().field, "lookups[0].plural");
    }

    #[test]
    fn an_owner_comes_before_every_number() {
        let roles = [Role::Add, Role::Override, Role::Mutate(0), Role::Mutate(1), Role::Mutate(u32::MAX)];
        let orders = roles.map(Role::order);
        assert!(orders.is_sorted() && orders[0] == orders[1] && orders[1] < orders[2], "{orders:?}");
        assert_eq!(
            roles.map(|role| role.to_string()),
            ["add", "override", "mutate(0)", "mutate(1)", "mutate(4294967295)"]
        );
    }
}
