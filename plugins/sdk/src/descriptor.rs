//! What a plugin says about itself: a builder for each record of the interface.

use crate::bindings::weft::mapping::types;
use crate::bindings::weft::mapping::types::{Directions, Inputs, Role, Selection};

pub use types::{Kind, Side};

/// A kind by its short form: `v1/Pod`, `networking.k8s.io/v1/Ingress`.
pub fn kind(text: &str) -> Kind {
    let (api_version, kind) = text.rsplit_once('/').unwrap_or(("", text));
    kind_of(api_version, kind)
}

fn kind_of(api_version: &str, kind: &str) -> Kind {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Kind { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
}

/// What a component says about itself.
#[derive(Debug, Clone)]
pub struct Descriptor(pub(crate) types::Descriptor);

impl Descriptor {
    /// A plugin of this name and version, with one line for people about what it does. The name is that of the file
    /// without `.wasm`.
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

    /// Asks to read objects of a kind, which is called `plural` in URLs, with [`crate::lookup`]:
    /// `lookup(Side::VirtualSide, "v1/Secret", "secrets", &["/type"])`. Beside `apiVersion`, `kind` and `metadata`, only the
    /// fields `fields` (JSON pointers) are handed out; the whole object where there are none.
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

    /// The JSON Schema of the settings, as text: weft refuses settings that do not fit, with every field that is
    /// wrong.
    #[must_use]
    pub fn settings_schema(mut self, schema: &str) -> Self {
        self.0.settings_schema = Some(schema.to_owned());
        self
    }

    /// Says that answers depend on [`crate::Call::now`], which is 0 otherwise.
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
    /// Maps a kind that nobody maps yet: `add("networking.k8s.io/v1", "Ingress", "ingresses")`. Two plugins that add
    /// the same kind are refused.
    pub fn add(api_version: &str, kind: &str, plural: &str) -> Self {
        Self::new(api_version, kind, plural, Role::Add)
    }

    /// Stands in place of the rule that weft has for the kind: the role `override` of the interface, a word that Rust
    /// keeps for itself. What weft knows of its references stays.
    pub fn replace(api_version: &str, kind: &str, plural: &str) -> Self {
        Self::new(api_version, kind, plural, Role::Override)
    }

    /// Runs after the rule of the kind, whoever has it: low priorities first, ties in the order of the plugins'
    /// names.
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

    /// Has [`crate::Plugin::to_virtual`] called too, when something flows back.
    #[must_use]
    pub fn to_virtual(mut self) -> Self {
        self.0.directions |= Directions::TO_VIRTUAL;
        self
    }

    /// Has only [`crate::Plugin::to_virtual`] called.
    #[must_use]
    pub fn only_to_virtual(mut self) -> Self {
        self.0.directions = Directions::TO_VIRTUAL;
        self
    }

    /// Has requests carry the tenant's object as it is: [`crate::Call::virtual_object`].
    #[must_use]
    pub fn with_virtual_object(mut self) -> Self {
        self.0.inputs |= Inputs::VIRTUAL_OBJECT;
        self
    }

    /// Has requests carry the host object as it is now: [`crate::Call::host_object`].
    #[must_use]
    pub fn with_host_object(mut self) -> Self {
        self.0.inputs |= Inputs::HOST_OBJECT;
        self
    }

    /// Only objects that an object on the host names get a host object. Heeded for kinds that are added.
    #[must_use]
    pub fn used_only(mut self) -> Self {
        self.0.selection = Selection::Used;
        self
    }

    /// The place `path` names an object of the kind `target` in the same namespace:
    /// `reference("/spec/tls/*/secretName", "v1/Secret")`. weft rewrites the name.
    #[must_use]
    pub fn reference(self, path: &str, target: &str) -> Self {
        self.add_reference(path, target, None)
    }

    /// As [`Self::reference`], where the field `namespace_field` beside the name can hold a namespace.
    #[must_use]
    pub fn reference_across(self, path: &str, target: &str, namespace_field: &str) -> Self {
        self.add_reference(path, target, Some(namespace_field.to_owned()))
    }

    fn add_reference(mut self, path: &str, target: &str, namespace_field: Option<String>) -> Self {
        let reference = types::ReferencePath { path: path.to_owned(), target: kind(target), namespace_field };
        self.0.references.push(reference);
        self
    }

    /// The place `path` holds a label selector of pods. weft limits it to the pods of this virtual cluster in the
    /// object's virtual namespace.
    #[must_use]
    pub fn selector(mut self, path: &str) -> Self {
        self.0.selectors.push(path.to_owned());
        self
    }

    /// What the plugin may change on the host object, as JSON pointers; `/spec` and `/data` where nothing is said.
    #[must_use]
    pub fn host_writes(mut self, pointers: &[&str]) -> Self {
        self.0.host_writes.extend(pointers.iter().map(|&pointer| pointer.to_owned()));
        self
    }

    /// What the plugin may change on the virtual object, as JSON pointers; `/status` where nothing is said.
    #[must_use]
    pub fn virtual_writes(mut self, pointers: &[&str]) -> Self {
        self.0.virtual_writes.extend(pointers.iter().map(|&pointer| pointer.to_owned()));
        self
    }

    /// Has the host's CustomResourceDefinition of this kind installed in the virtual cluster.
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
