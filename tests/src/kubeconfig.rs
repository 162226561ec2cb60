//! Writes kubeconfig files that need no other file.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tempfile::NamedTempFile;

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
    // At once: tests beside each other have users of the same name, and a reader must not see half a file.
    let folder = path.parent().context("a kubeconfig is in a folder")?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map(drop).with_context(|| format!("failed to write {}", path.display()))
}
