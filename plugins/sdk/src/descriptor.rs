//! Builders for the descriptor of a plugin.

use crate::bindings::weft::mapping::types;
use crate::bindings::weft::mapping::types::{Directions, Inputs, Role, Selection};

pub use types::{Kind, Side};

/// A kind by its short form: `v1/Pod`, `networking.k8s.io/v1/Ingress`.
pub fn kind(short: &str) -> Kind {
    let (api_version, kind) = short.rsplit_once('/').unwrap_or(("", short));
    kind_of(api_version, kind)
}

fn kind_of(api_version: &str, kind: &str) -> Kind {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Kind { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
}

/// Describes a plugin.
#[derive(Debug, Clone)]
pub struct Descriptor(pub(crate) types::Descriptor);

impl Descriptor {
    /// A plugin of this name and version, with a one-line summary. The name must be that of the file without `.wasm`.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self(types::Descriptor {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            mappings: Vec::new(),
            lookups: Vec::new(),
            settings_schema: None,
            uses_time: false,
            extra: Vec::new(),
        })
    }

    /// Adds a kind that the plugin maps.
    #[must_use]
    pub fn mapping(mut self, mapping: Mapping) -> Self {
        self.0.mappings.push(mapping.0);
        self
    }

    /// Requests to read objects of a kind, whose API resource is `plural`, with [`crate::lookup`]:
    /// `lookup(Side::VirtualSide, "v1/Secret", "secrets", &["/type"])`. Lookups return
    /// `apiVersion`, `kind`, `metadata` and the fields `fields` (JSON pointers); the whole object if `fields` is empty.
    #[must_use]
    pub fn lookup(mut self, side: Side, of_kind: &str, plural: &str, fields: &[&str]) -> Self {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        self.0.lookups.push(types::LookupPermission {
            side,
            kind: kind(of_kind),
            plural: plural.to_owned(),
            fields,
        });
        self
    }

    /// The JSON Schema of the settings: weft refuses settings that do not match, and names every field that is wrong.
    #[must_use]
    pub fn settings_schema(mut self, schema: &str) -> Self {
        self.0.settings_schema = Some(schema.to_owned());
        self
    }

    /// Declares that outcomes depend on [`crate::Call::now`], which is 0 otherwise.
    #[must_use]
    pub fn uses_time(mut self) -> Self {
        self.0.uses_time = true;
        self
    }
}

/// One kind that a plugin maps.
#[derive(Debug, Clone)]
pub struct Mapping(types::Mapping);

impl Mapping {
    /// Maps a kind that is not mapped yet: `add("networking.k8s.io/v1", "Ingress", "ingresses")`. Two plugins that add
    /// the same kind are refused.
    pub fn add(api_version: &str, kind: &str, plural: &str) -> Self {
        Self::new(api_version, kind, plural, Role::Add)
    }

    /// Replaces weft's built-in rule for the kind: the role `override` of the interface, which is a reserved word in Rust.
    /// weft still rewrites the references that it knows of the kind.
    pub fn replace(api_version: &str, kind: &str, plural: &str) -> Self {
        Self::new(api_version, kind, plural, Role::Override)
    }

    /// Runs after the kind's rule, wherever that rule comes from: lower priorities first, ties in the order of the
    /// plugins' names.
    pub fn mutate(api_version: &str, kind: &str, plural: &str, priority: u32) -> Self {
        Self::new(api_version, kind, plural, Role::Mutate(priority))
    }

    fn new(api_version: &str, kind: &str, plural: &str, role: Role) -> Self {
        Self(types::Mapping {
            kind: kind_of(api_version, kind),
            plural: plural.to_owned(),
            role,
            directions: Directions::TO_HOST,
            inputs: Inputs::empty(),
            selection: Selection::All,
            references: Vec::new(),
            selectors: Vec::new(),
            host_writes: Vec::new(),
            virtual_writes: Vec::new(),
            install_definition: false,
            extra: Vec::new(),
        })
    }

    /// Calls [`crate::Plugin::to_virtual`] too, before fields are synced back to the virtual object.
    #[must_use]
    pub fn to_virtual(mut self) -> Self {
        self.0.directions |= Directions::TO_VIRTUAL;
        self
    }

    /// Calls only [`crate::Plugin::to_virtual`].
    #[must_use]
    pub fn only_to_virtual(mut self) -> Self {
        self.0.directions = Directions::TO_VIRTUAL;
        self
    }

    /// Adds the tenant's object to each request: [`crate::Call::virtual_object`].
    #[must_use]
    pub fn with_virtual_object(mut self) -> Self {
        self.0.inputs |= Inputs::VIRTUAL_OBJECT;
        self
    }

    /// Adds the current host object to each request: [`crate::Call::host_object`].
    #[must_use]
    pub fn with_host_object(mut self) -> Self {
        self.0.inputs |= Inputs::HOST_OBJECT;
        self
    }

    /// Syncs only objects that a synced object references. Applies to [`Mapping::add`]; ignored for the others.
    #[must_use]
    pub fn used_only(mut self) -> Self {
        self.0.selection = Selection::Used;
        self
    }

    /// The field at `path` references an object of the kind `target` in the same namespace:
    /// `reference("/spec/tls/*/secretName", "v1/Secret")`. weft rewrites the name.
    #[must_use]
    pub fn reference(self, path: &str, target: &str) -> Self {
        self.add_reference(path, target, None)
    }

    /// As [`Self::reference`], if the sibling field `namespace_field` can hold the namespace.
    #[must_use]
    pub fn reference_across(self, path: &str, target: &str, namespace_field: &str) -> Self {
        self.add_reference(path, target, Some(namespace_field.to_owned()))
    }

    fn add_reference(mut self, path: &str, target: &str, namespace_field: Option<String>) -> Self {
        let reference = types::ReferencePath { path: path.to_owned(), target: kind(target), namespace_field };
        self.0.references.push(reference);
        self
    }

    /// The field at `path` is a label selector of pods. weft limits it to the pods of this virtual cluster in the
    /// object's virtual namespace.
    #[must_use]
    pub fn selector(mut self, path: &str) -> Self {
        self.0.selectors.push(path.to_owned());
        self
    }

    /// Fields of the host object that the plugin may change beside labels and annotations, as JSON pointers. By default
    /// none for [`Mapping::mutate`], `/spec` and `/data` for the others.
    #[must_use]
    pub fn host_writes(mut self, pointers: &[&str]) -> Self {
        self.0.host_writes.extend(pointers.iter().map(|&pointer| pointer.to_owned()));
        self
    }

    /// Fields of the virtual object that the plugin may change, as JSON pointers; `/status` by default.
    #[must_use]
    pub fn virtual_writes(mut self, pointers: &[&str]) -> Self {
        self.0.virtual_writes.extend(pointers.iter().map(|&pointer| pointer.to_owned()));
        self
    }

    /// Installs the host's CustomResourceDefinition of this kind in the virtual cluster.
    #[must_use]
    pub fn install_definition(mut self) -> Self {
        self.0.install_definition = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_from_its_short_form() {
        let pod = kind("v1/Pod");
        assert_eq!((pod.group.as_str(), pod.version.as_str(), pod.kind.as_str()), ("", "v1", "Pod"));
        let ingress = kind("networking.k8s.io/v1/Ingress");
        assert_eq!(
            (ingress.group.as_str(), ingress.version.as_str(), ingress.kind.as_str()),
            ("networking.k8s.io", "v1", "Ingress")
        );
    }
}
