//! How the two API servers are reached.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Error};

/// The syncer's kubeconfig, as `weft init` writes it into the folder that the containers of a control plane share.
const OWN_KUBECONFIG: &str = "kubeconfig/syncer.kubeconfig";

/// How one API server is reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Path of a kubeconfig; without one, the pod's own service account is used.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one by default.
    #[serde(default)]
    pub context: Option<String>,
}

impl Config {
    /// How the virtual API server is reached. The pod's own service account, which is the host's, never reaches it.
    ///
    /// # Errors
    /// Nothing says how.
    pub fn virtual_connection(&self) -> Result<Connection, Error> {
        let mut connection = self.r#virtual.clone();
        if connection.kubeconfig.is_none() {
            let own = self.control_plane.as_ref().map(|_| self.folders.shared.join(OWN_KUBECONFIG));
            connection.kubeconfig = Some(own.ok_or_else(|| Error::Value {
                key: "virtual.kubeconfig",
                why: "name the kubeconfig of the virtual API server: without one, this pod reaches the host".to_owned(),
            })?);
        }
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use crate::config::testing::config;

    #[test]
    fn a_virtual_cluster_is_never_reached_by_the_hosts_service_account() {
        let error = config(&json!({})).virtual_connection().unwrap_err().to_string();
        assert!(error.contains("`virtual.kubeconfig`"), "{error}");
        for (rest, path) in [
            (json!({"virtual": {"kubeconfig": "/v"}}), "/v"),
            (json!({"controlPlane": {}}), "/run/weft/kubeconfig/syncer.kubeconfig"),
            (json!({"controlPlane": {}, "virtual": {"kubeconfig": "/v"}}), "/v"),
        ] {
            let connection = config(&rest).virtual_connection().unwrap();
            assert_eq!(connection.kubeconfig.as_deref(), Some(Path::new(path)), "{rest}");
        }
    }
}
