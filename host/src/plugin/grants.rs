//! What an operator allows a plugin, and whether the plugin asks for more.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weft_core::extension::OnFailure;
use weft_core::object::Kind;

use crate::plugin::descriptor::{Descriptor, Side};
use crate::plugin::sandbox::Limits;

/// What an operator says of one plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// Whether it is loaded.
    pub enabled: bool,
    /// Handed to the plugin; its own schema says what may stand here.
    pub settings: Map<String, Value>,
    /// Kinds that it may map, as `apiVersion/Kind`: `v1/Pod`, `networking.k8s.io/v1/Ingress`.
    pub kinds: Vec<String>,
    /// What it may look up.
    pub lookups: Vec<LookupGrant>,
    /// Whether it may have `CustomResourceDefinitions` of the host installed in the virtual cluster.
    pub install_definitions: bool,
    /// Whether it may import WASI: it gets stand-ins that read nothing and always answer the same.
    pub wasi: bool,
    /// What happens to an object when the plugin fails: `hold` writes nothing and tries again, `core` writes
    /// it as if the plugin were not there, `deny` writes nothing until the object or the plugin changes.
    pub on_failure: FailurePolicy,
    /// What happens to host objects of kinds that it added, when it is removed: `leave` or `delete`.
    pub on_removal: RemovalPolicy,
    /// SHA-256 of the file, in hexadecimal: a file with another one is not loaded.
    pub digest: Option<String>,
    /// What one call may take.
    pub limits: LimitsEntry,
}

/// Something that a plugin may look up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LookupGrant {
    /// Of which kind, as `apiVersion/Kind`.
    pub kind: String,
    /// Of which cluster; `host` means the host objects of this virtual cluster only.
    #[serde(default = "virtual_side")]
    pub side: Side,
}

/// What happens to an object when a plugin fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FailurePolicy {
    /// Nothing is written; tried again with growing pauses.
    #[default]
    Hold,
    /// Written as if the plugin were not there.
    Core,
    /// Nothing is written until the object or the plugin changes.
    Deny,
}

/// What happens to the host objects of an added kind when its plugin is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RemovalPolicy {
    /// They stay as they are.
    #[default]
    Leave,
    /// They are deleted.
    Delete,
}

/// What one call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsEntry {
    /// Milliseconds of one call, 10 to 10000.
    pub milliseconds: u64,
    /// Mebibytes of memory, 1 to 1024.
    pub mebibytes: u32,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            enabled: true,
            settings: Map::new(),
            kinds: Vec::new(),
            lookups: Vec::new(),
            install_definitions: false,
            wasi: false,
            on_failure: FailurePolicy::default(),
            on_removal: RemovalPolicy::default(),
            digest: None,
            limits: LimitsEntry::default(),
        }
    }
}

impl Default for LimitsEntry {
    fn default() -> Self {
        Self { milliseconds: 250, mebibytes: 64 }
    }
}

impl From<LimitsEntry> for Limits {
    fn from(entry: LimitsEntry) -> Self {
        let memory = usize::try_from(entry.mebibytes).unwrap_or(usize::MAX).saturating_mul(1024 * 1024);
        Self { time: Duration::from_millis(entry.milliseconds), memory }
    }
}

impl From<FailurePolicy> for OnFailure {
    fn from(policy: FailurePolicy) -> Self {
        match policy {
            FailurePolicy::Hold => Self::Hold,
            FailurePolicy::Core => Self::Core,
            FailurePolicy::Deny => Self::Deny,
        }
    }
}

impl Entry {
    /// An entry that grants just what `descriptor` asks for: for development.
    #[must_use]
    pub fn asked_by(mut self, descriptor: &Descriptor) -> Self {
        self.kinds = descriptor.mappings.iter().map(|mapping| mapping.resource.kind().to_string()).collect();
        let lookups = descriptor.lookups.iter();
        self.lookups = lookups
            .map(|lookup| LookupGrant { kind: lookup.kind().to_string(), side: lookup.side })
            .collect();
        self.install_definitions = descriptor.mappings.iter().any(|mapping| mapping.installs_definition);
        self
    }

    /// The same entry; where it names no `kinds`, with all that `descriptor` asks for.
    #[must_use]
    pub fn or_asked_by(self, descriptor: &Descriptor) -> Self {
        if self.kinds.is_empty() { self.asked_by(descriptor) } else { self }
    }

    /// What `descriptor` asks for and this entry does not grant, each as a line that says what to add.
    pub fn missing(&self, descriptor: &Descriptor) -> Vec<String> {
        let has_kind = |kind: &Kind| self.kinds.iter().any(|granted| granted == kind.as_str());
        // A slip in what is granted shows only beside what is asked for.
        let granted =
            if self.kinds.is_empty() { String::new() } else { format!(" beside {}", self.kinds.join(", ")) };
        let mut missing = Vec::new();
        for mapping in &descriptor.mappings {
            let kind = mapping.resource.kind();
            if !has_kind(&kind) {
                missing.push(format!("map {kind} ({}): add it to `kinds`{granted}", mapping.role));
            }
            if mapping.installs_definition && !self.install_definitions {
                missing.push(format!("install the definition of {kind}: set `installDefinitions: true`"));
            }
        }
        for lookup in &descriptor.lookups {
            let (kind, side) = (lookup.kind(), lookup.side);
            let is_granted = |grant: &LookupGrant| grant.kind == kind.as_str() && grant.side == side;
            if !self.lookups.iter().any(is_granted) {
                missing.push(format!(
                    "look up {kind} ({side}): add {{kind: {kind}, side: {side}}} to `lookups`"
                ));
            }
        }
        missing
    }
}

fn virtual_side() -> Side {
    Side::Virtual
}
