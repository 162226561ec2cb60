//! Which labels and annotations of tenants the host sees.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weft_core::key_pattern;
use weft_core::policy::metadata::{KeyPolicy, MetadataPolicy};

use crate::config::Error;

/// Which labels and annotations of tenants and plugins the host sees. Those that its controllers obey are escaped there by
/// default: `sidecar.istio.io/inject` becomes `sidecar.istio.io.tenant.weft.dev/inject`. The page `host/KEYS.md` has the table. A change needs a restart of the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Keys of labels.
    pub labels: Keys,
    /// Keys of annotations.
    pub annotations: Keys,
}

/// Keys as `example.com/name`, `example.com/*` or `*.example.com/*`, which means the domain and all below it; `*` is every
/// key. `deny` goes before `allow`, and `allow` before weft's own table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Keys {
    /// Keys that reach the host though controllers there obey them.
    pub allow: Vec<String>,
    /// Keys that do not, beside those of weft's table and whatever `allow` says.
    pub deny: Vec<String>,
}

impl Metadata {
    pub(super) fn check(&self) -> Result<(), Error> {
        for (key, patterns) in [
            ("metadata.labels.allow", &self.labels.allow),
            ("metadata.labels.deny", &self.labels.deny),
            ("metadata.annotations.allow", &self.annotations.allow),
            ("metadata.annotations.deny", &self.annotations.deny),
        ] {
            for pattern in patterns {
                key_pattern::check(pattern)
                    .map_err(|why| Error::Value { key, why: format!("{pattern:?} {why}") })?;
            }
        }
        Ok(())
    }

    /// The same for the core.
    pub(super) fn policy(&self) -> MetadataPolicy {
        MetadataPolicy { labels: self.labels.policy(), annotations: self.annotations.policy() }
    }
}

impl Keys {
    fn policy(&self) -> KeyPolicy {
        KeyPolicy { allow: self.allow.clone(), deny: self.deny.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weft_core::policy::metadata::MetadataPolicy;

    use crate::config::testing::config;

    #[test]
    fn what_is_set_is_the_policy_and_nothing_is_by_default() {
        let metadata = json!({"annotations": {"allow": ["*.linkerd.io/*"]}, "labels": {"deny": ["team"]}});
        let policy = config(&json!({"metadata": metadata})).policy().metadata;
        assert_eq!(policy.annotations.denied("config.linkerd.io/a"), None);
        assert!(policy.labels.denied("config.linkerd.io/a").is_some());
        assert!(policy.labels.denied("team").is_some());
        assert_eq!(config(&json!({})).policy().metadata, MetadataPolicy::default());
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_its_key() {
        let refused = |metadata: &serde_json::Value| {
            config(&json!({"metadata": metadata})).metadata.check().err().map(|error| error.to_string())
        };
        assert_eq!(
            refused(&json!({"labels": {"allow": ["a.org/*", "app"]}, "annotations": {"deny": ["*"]}})),
            None
        );
        for (map, list) in
            [("labels", "allow"), ("labels", "deny"), ("annotations", "allow"), ("annotations", "deny")]
        {
            let refused = refused(&json!({map: {list: ["a.org"  , "*.Example.com/*"]}}));
            let text = refused.unwrap_or_default();
            assert!(
                text.contains(&format!("`metadata.{map}.{list}`")) && text.contains("*.Example.com/*"),
                "{text}"
            );
        }
    }
}
