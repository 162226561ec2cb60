//! Writes kubeconfig files that need no other file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::pki::Pair;

/// Writes the kubeconfig of one client of one server; JSON is YAML too.
pub fn write(path: &Path, server: &str, authority: &str, client: &Pair) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "weft",
        "contexts": [{"name": "weft", "context": {"cluster": "weft", "user": "weft"}}],
        "clusters": [{"name": "weft", "cluster": {
            "server": server,
            "certificate-authority-data": BASE64_STANDARD.encode(authority),
        }}],
        "users": [{"name": "weft", "user": {
            "client-certificate-data": BASE64_STANDARD.encode(&client.certificate),
            "client-key-data": BASE64_STANDARD.encode(&client.key),
        }}],
    });
    let text = serde_json::to_string_pretty(&config)?;
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
