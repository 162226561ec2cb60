//! What a syncer may do on the host: what `weft rbac` prints for its configuration.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use weft::config::Config;
use weft::permissions::{self, Permissions};

/// Kinds that first-party plugins add, with group and plural. Tests load plugins while a syncer runs, and an operator
/// applies what `weft rbac` prints before that.
const PLUGINS: [(&str, &str, &str); 4] = [
    ("networking.k8s.io/v1", "Ingress", "ingresses"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("cert-manager.io/v1", "Certificate", "certificates"),
];

/// What the syncer with this configuration may do in its namespace, and on the whole host; with a folder of plugins, the
/// kinds of all first-party ones are in it.
pub(crate) fn rules(config: Value) -> Result<Permissions> {
    let mut config: Config = serde_json::from_value(config).context("the configuration cannot be used")?;
    if config.plugins.folder.is_some() {
        let mapping = |(group, kind, plural)| json!({"apiVersion": group, "kind": kind, "plural": plural});
        let added: Value = PLUGINS.into_iter().map(mapping).collect();
        config.mappings.extend(serde_json::from_value::<Vec<_>>(added)?);
    }
    Ok(permissions::of(&config, &[]))
}
