//! What an operator allows a plugin.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weft_core::extension::OnFailure;

/// What an operator allows one plugin, and how it is run.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the configuration")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// Whether it is loaded.
    pub enabled: bool,
    /// Handed to the plugin; its own schema says what may stand here.
    pub settings: Map<String, Value>,
    /// Kinds that it may map, as `apiVersion/Kind`: `v1/Pod`, `networking.k8s.io/v1/Ingress`.
    pub kinds: Vec<String>,
    /// What it may write beside labels and annotations of host objects and the status of the tenant's, by kind:
    /// `v1/Pod: [/spec/containers]` opens this place and all below it. `weft plugin check` prints what a plugin requests.
    pub writes: BTreeMap<String, Vec<String>>,
    /// Whether it may map kinds whose objects open a namespace, run pods, or act with the permissions of a controller of
    /// the host: see `actsForOthers` of `mappings`.
    pub acts_for_others: bool,
    /// What it may look up.
    pub lookups: Vec<LookupGrant>,
    /// Whether it may have `CustomResourceDefinitions` of the host installed in the virtual cluster.
    pub install_definitions: bool,
    /// Whether it may import WASI: it gets stubs that read nothing and always answer the same.
    pub wasi: bool,
    /// What happens to an object when the plugin fails.
    pub on_failure: FailurePolicy,
    /// What happens to the host objects of kinds that it added, when it is removed.
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

/// One of the two clusters of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The tenant's.
    Virtual,
    /// The one that runs the workload.
    Host,
}

/// What happens to an object when a plugin fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FailurePolicy {
    /// Nothing is written; the object is retried with backoff.
    #[default]
    Hold,
    /// The object is written as if the plugin were not there.
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
            writes: BTreeMap::new(),
            acts_for_others: false,
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

impl From<FailurePolicy> for OnFailure {
    fn from(policy: FailurePolicy) -> Self {
        match policy {
            FailurePolicy::Hold => Self::Hold,
            FailurePolicy::Core => Self::Core,
            FailurePolicy::Deny => Self::Deny,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Virtual => "virtual",
            Self::Host => "host",
        })
    }
}

fn virtual_side() -> Side {
    Side::Virtual
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(entry: serde_json::Value) -> Entry {
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn an_empty_entry_loads_the_plugin_grants_nothing_and_holds_objects_when_it_fails() {
        let entry = entry(json!({}));
        assert_eq!(entry, Entry::default());
        assert!(entry.enabled && entry.kinds.is_empty() && entry.lookups.is_empty());
        assert!(!entry.wasi && !entry.install_definitions);
        assert_eq!((entry.on_failure, entry.on_removal), (FailurePolicy::Hold, RemovalPolicy::Leave));
        assert_eq!(entry.limits, LimitsEntry { milliseconds: 250, mebibytes: 64 });
    }

    #[test]
    fn a_lookup_is_of_the_virtual_cluster_unless_it_says_host() {
        let entry = entry(json!({"lookups": [{"kind": "v1/Secret"}, {"kind": "v1/Secret", "side": "host"}]}));
        let sides: Vec<String> = entry.lookups.iter().map(|lookup| lookup.side.to_string()).collect();
        assert_eq!(sides, ["virtual", "host"]);
    }

    #[test]
    fn each_failure_policy_is_that_of_the_core() {
        for (text, policy) in
            [("hold", OnFailure::Hold), ("core", OnFailure::Core), ("deny", OnFailure::Deny)]
        {
            assert_eq!(OnFailure::from(entry(json!({"onFailure": text})).on_failure), policy, "{text}");
        }
    }
}
