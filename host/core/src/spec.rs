//! What a kind is, as data: everything about it that needs no code.

use std::borrow::Cow;

use crate::object::ResourceType;
use crate::references::Reference;
use crate::selectors::Selector;

/// What a kind is. The defaults are those of [`KindSpec::new`]; a kind states only what differs.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a kind, each with its own reader")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindSpec {
    /// The kind that is mapped; the same on both sides.
    pub resource: ResourceType,
    /// Where objects name other objects of their namespace.
    pub references: Vec<Reference>,
    /// Where objects select pods. The guard refuses a host object that selects pods of others there.
    pub selectors: Vec<Selector>,
    /// Which of the tenant's labels and annotations host objects carry.
    pub keys: TenantKeys,
    /// How pairs live and die.
    pub policy: Policy,
    /// Managed fields, as pointers: managed by the syncer, and removed on the host when the tenant removes them.
    pub managed: Vec<String>,
    /// Subresources of host objects that patches go to.
    pub host_subresources: Vec<&'static str>,
    /// Kinds of the virtual cluster that the mapper looks up, synced or not.
    pub looks_up: Vec<ResourceType>,
    /// Whether virtual objects have a `status` with conditions.
    pub has_conditions: bool,
    /// Whether every API server has the kind, so that no work begins before its objects are known.
    pub is_essential: bool,
    /// Whether the host's definition of this custom resource is to be installed in the virtual cluster.
    pub installs_definition: bool,
    /// Whether host objects go with the virtual cluster's owner object; not if they hold data that nothing brings back.
    pub is_owned: bool,
    /// Whether the operator has said that its objects may have controllers of the host act for others, and run containers.
    pub acts_for_others: bool,
    /// Whether the mapper may take so long that it must not run on a thread where others wait for it.
    pub may_block: bool,
}

impl KindSpec {
    /// A kind whose objects all get a host object with the tenant's `spec` and `data`.
    pub fn new(resource: ResourceType) -> Self {
        Self {
            resource,
            references: Vec::new(),
            selectors: Vec::new(),
            keys: TenantKeys::All,
            policy: Policy { selection: Selection::All, life: Life::Data },
            managed: ["/spec", "/data"].map(str::to_owned).into(),
            host_subresources: Vec::new(),
            looks_up: Vec::new(),
            has_conditions: false,
            is_essential: true,
            installs_definition: false,
            is_owned: true,
            acts_for_others: false,
            may_block: false,
        }
    }

    /// The same for a kind of the core group, `v1`.
    pub fn core(kind: &'static str, plural: &'static str) -> Self {
        Self::new(ResourceType::core(kind, plural))
    }

    /// The kind in another API group.
    #[must_use]
    pub fn in_group(mut self, group: &'static str) -> Self {
        self.resource.group = Cow::Borrowed(group);
        self
    }

    /// Only objects that an object on the host names get a host object.
    #[must_use]
    pub fn used(mut self) -> Self {
        self.policy.selection = Selection::Used;
        self
    }

    /// Host objects carry of the tenant's labels and annotations only those with these keys.
    #[must_use]
    pub fn only_keys(mut self, keys: &'static [&'static str]) -> Self {
        self.keys = TenantKeys::Only(keys);
        self
    }

    /// Host objects hold data: nothing owns them, so that no deletion of another object takes them along.
    #[must_use]
    pub fn without_owner(mut self) -> Self {
        self.is_owned = false;
        self
    }

    /// Objects run, and cannot run again.
    #[must_use]
    pub fn process(mut self) -> Self {
        self.policy.life = Life::Process;
        self
    }

    /// Objects have a `status` with conditions.
    #[must_use]
    pub fn with_conditions(mut self) -> Self {
        self.has_conditions = true;
        self
    }

    /// Host objects are also patched in these subresources.
    #[must_use]
    pub fn patched_in<const N: usize>(mut self, subresources: [&'static str; N]) -> Self {
        self.host_subresources = subresources.into();
        self
    }

    /// Replaces the managed fields.
    #[must_use]
    pub fn managed<const N: usize>(mut self, pointers: [&str; N]) -> Self {
        self.managed = pointers.map(str::to_owned).into();
        self
    }

    /// Adds places that name other objects.
    #[must_use]
    pub fn references(mut self, references: impl IntoIterator<Item = Reference>) -> Self {
        self.references.extend(references);
        self
    }

    /// Adds places that select pods.
    #[must_use]
    pub fn selectors(mut self, selectors: impl IntoIterator<Item = Selector>) -> Self {
        self.selectors.extend(selectors);
        self
    }
}

/// Which of the tenant's labels and annotations host objects carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantKeys {
    /// All of them: objects of the host select by them, or read them.
    All,
    /// Only those with these keys. Nothing that is synced selects such objects, so what a key would do is make a
    /// controller of the host act: copy the object to other namespaces, take it for one of its own, release a volume.
    Only(&'static [&'static str]),
}

/// How pairs of a kind live and die.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which virtual objects get a host object.
    pub selection: Selection,
    /// What the loss of a host object means.
    pub life: Life,
}

/// Which virtual objects get a host object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those that an object on the host names.
    Used,
}

/// What the loss of a host object means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is made again: nothing but its content matters.
    Data,
    /// It ran and cannot run again: the virtual object goes too. Deletion has a grace period.
    Process,
}

impl TenantKeys {
    /// Whether host objects carry the tenant's label or annotation of this key.
    pub fn has(self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(&key),
        }
    }
}
