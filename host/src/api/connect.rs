//! Prepares the connection to one API server from its kubeconfig or the pod's service account.

use std::path::Path;

use crate::config::Connection;

/// Why no connection could be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read.
    #[error("failed to read the kubeconfig {path}; check `{key}.kubeconfig`")]
    Kubeconfig {
        /// The file.
        path: String,
        /// `host` or `virtual`.
        key: &'static str,
        /// What is wrong.
        source: kube::config::KubeconfigError,
    },
    /// There is no kubeconfig and no service account.
    #[error("no `{key}.kubeconfig` is set and this is not a pod with a service account")]
    InCluster {
        /// `host` or `virtual`.
        key: &'static str,
        /// What is missing.
        source: kube::config::InClusterError,
    },
    /// The credentials cannot be used.
    #[error("failed to prepare the connection from `{key}`")]
    Client {
        /// `host` or `virtual`.
        key: &'static str,
        /// What is wrong.
        source: kube::Error,
    },
}

/// A client for `connection`; nothing is sent yet. `key` is what the configuration calls it.
pub(super) async fn client(connection: &Connection, key: &'static str) -> Result<kube::Client, ConnectError> {
    let mut config = match &connection.kubeconfig {
        Some(path) => from_kubeconfig(path, connection.context.clone(), key).await?,
        None => kube::Config::incluster().map_err(|source| ConnectError::InCluster { key, source })?,
    };
    // Retries are the queue's business: it knows what else is waiting.
    config.default_retry = false;
    // Watches are quiet for minutes; each has its own limit.
    config.read_timeout = None;
    kube::Client::try_from(config).map_err(|source| ConnectError::Client { key, source })
}

async fn from_kubeconfig(
    path: &Path,
    context: Option<String>,
    key: &'static str,
) -> Result<kube::Config, ConnectError> {
    let wrong = |source| ConnectError::Kubeconfig { path: path.display().to_string(), key, source };
    let kubeconfig = kube::config::Kubeconfig::read_from(path).map_err(wrong)?;
    let options = kube::config::KubeConfigOptions { context, ..Default::default() };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)
}
