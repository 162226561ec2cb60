//! What a component says about itself, and whether it makes sense.

use std::fmt;

use weft_core::labels;
use weft_core::object::{Kind, ResourceType};
use weft_core::paths;
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
    /// JSON Schema of its settings, as text.
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
    /// It stands in place of the built-in rule.
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

/// Groups whose kinds no plugin may map: who writes these has rights that weft does not check, or makes pods
/// that weft does not see.
const CLOSED_GROUPS: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];
/// Kinds of the core group that no plugin may map.
const CLOSED_CORE: &[&str] = &[
    "Binding",
    "ComponentStatus",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "ServiceAccount",
];
/// More of anything than a plugin can need.
const MANY: usize = 64;

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
        if self.mappings.is_empty() || self.mappings.len() > MANY || self.lookups.len() > MANY {
            return Err(invalid("mappings", format!("must be 1 to {MANY}, and lookups no more than {MANY}")));
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
        check_resource(at, &self.resource)?;
        let (group, kind) = (&*self.resource.group, &*self.resource.kind);
        if CLOSED_GROUPS.contains(&group) || (group.is_empty() && CLOSED_CORE.contains(&kind)) {
            let kind = self.resource.kind();
            return Err(invalid(
                &format!("{at}.kind"),
                format!("{kind} cannot be mapped by a plugin or a declaration"),
            ));
        }
        if self.role == Role::Override && self.resource.kind().as_str() == "v1/Pod" {
            let why =
                "the rules of pods cannot be given by a plugin, only followed: let it mutate".to_owned();
            return Err(invalid(&format!("{at}.role"), why));
        }
        if !self.to_host && !self.to_virtual {
            return Err(invalid(&format!("{at}.directions"), "must name at least one".to_owned()));
        }
        let lists =
            [self.references.len(), self.selectors.len(), self.host_writes.len(), self.virtual_writes.len()];
        if lists.into_iter().any(|length| length > MANY) {
            return Err(invalid(at, format!("has a list of more than {MANY}")));
        }
        for (list, paths) in [("host-writes", &self.host_writes), ("virtual-writes", &self.virtual_writes)] {
            if let Some(path) = paths.iter().find(|path| !is_open(path)) {
                let why = format!("{path:?} must be a pointer to a field that is not in metadata");
                return Err(invalid(&format!("{at}.{list}"), why));
            }
        }
        let is_named = |reference: &&Reference| is_open(&reference.path) || is_annotation(reference);
        if let Some(Reference { path, .. }) = self.references.iter().find(|reference| !is_named(reference)) {
            let why =
                format!("{path:?} must be a path to a field that is not in metadata, or to an annotation");
            return Err(invalid(&format!("{at}.references"), why));
        }
        if let Some(path) = self.selectors.iter().find(|path| !is_open(path)) {
            let why = format!("{path:?} must be a path to a field that is not in metadata");
            return Err(invalid(&format!("{at}.selectors"), why));
        }
        Ok(())
    }
}

/// Whether a pointer is to something that rules may write.
fn is_open(pointer: &str) -> bool {
    let Some(path) = pointer.strip_prefix('/') else { return false };
    let root = path.split('/').next().unwrap_or_default();
    !matches!(root, "" | "metadata" | "apiVersion" | "kind")
}

/// Whether a reference is in one annotation that is not weft's. There is no field beside it.
fn is_annotation(reference: &Reference) -> bool {
    let segment = reference.path.strip_prefix("/metadata/annotations/");
    segment.is_some_and(|segment| {
        let is_one = !segment.is_empty() && !segment.contains(['/', '*']);
        is_one && reference.namespace_field.is_none() && !labels::is_reserved(&paths::unescape(segment))
    })
}

fn check_resource(at: &str, resource: &ResourceType) -> Result<(), Invalid> {
    let plural = &resource.plural;
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_plain(&resource.version) || !is_plain(&resource.kind) {
        return Err(invalid(
            &format!("{at}.kind"),
            "needs a version and a kind of letters and digits".to_owned(),
        ));
    }
    if !is_plain(plural) || plural.to_lowercase() != **plural {
        return Err(invalid(
            &format!("{at}.plural"),
            format!("{plural:?} must be the lower-case name in URLs"),
        ));
    }
    if !resource.group.is_empty() && !resource.group.split('.').all(is_dns_label) {
        return Err(invalid(&format!("{at}.kind"), format!("the group {:?} is no DNS name", resource.group)));
    }
    Ok(())
}

/// RFC 1123 label.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
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
