//! Kubeconfigs: those of the control plane's own programs, and the one that is handed out.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::control::pki::Pki;

/// The name of the only cluster, user and context.
const NAME: &str = "weft";

/// For a program of the control plane. It names files, which clients read again after a renewal.
pub(super) fn of_program(pki: &Path, user: &str, server: &str) -> String {
    let file = |name: &str| pki.join(name).display().to_string();
    let certificate = file(&format!("{user}.crt"));
    let key = file(&format!("{user}.key"));
    text(
        &json!({"server": server, "certificate-authority": file("ca.crt")}),
        &json!({"client-certificate": certificate, "client-key": key}),
    )
}

/// For the administrator of the virtual cluster; it holds all that it needs.
pub(super) fn of_admin(pki: &Pki, server: &str) -> String {
    let data = |name: &str| BASE64_STANDARD.encode(pki.file(name));
    text(
        &json!({"server": server, "certificate-authority-data": data("ca.crt")}),
        &json!({"client-certificate-data": data("admin.crt"), "client-key-data": data("admin.key")}),
    )
}

fn text(cluster: &Value, user: &Value) -> String {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": NAME,
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
    });
    serde_saphyr::to_string(&kubeconfig).unwrap_or_default()
}
