//! Prepares the connection to one API server from its kubeconfig or the pod's service account.

use std::path::Path;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ConfigExt as _};
use tokio::net::TcpStream;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};

use crate::api::Buffered;
use crate::config::Connection;

/// How long a connection may take to be opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After this silence the other end is probed, so often, each time so much later: a machine that is gone without a word,
/// behind a load balancer whose others go on, is noticed within 15 s.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;
/// The same for what was sent and is not acknowledged, when nothing is probed.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(14);

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
    build(config).map_err(|source| ConnectError::Client { key, source })
}

/// kube's client with two differences, which kube cannot set: the kernel drops a connection whose other end is silent, and
/// what comes is read in large pieces.
fn build(config: kube::Config) -> kube::Result<kube::Client> {
    if config.proxy_url.is_some() {
        // Then the other end is the proxy, and kube knows how to speak to it.
        return kube::Client::try_from(config);
    }
    let buffered = |socket: TokioIo<TcpStream>| TokioIo::new(Buffered::new(socket.into_inner()));
    let connector = config.rustls_https_connector_with_connector(connector().map_response(buffered))?;
    let transport =
        hyper_util::client::legacy::Builder::new(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(transport);
    Ok(kube::Client::new(service, config.default_namespace))
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    // A key that is typed in a terminal does not wait for the acknowledgement of the one before.
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn connection(kubeconfig: &Path) -> Connection {
        Connection { kubeconfig: Some(kubeconfig.to_owned()), context: None }
    }

    #[tokio::test]
    async fn a_client_sends_what_its_kubeconfig_says_to_the_server_that_it_names() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = serde_json::json!({
            "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": format!("http://{}", server.local_addr().unwrap())}}],
            "users": [{"name": "a", "user": {"token": "secret"}}],
        });
        std::fs::write(file.path(), config.to_string()).unwrap();
        let answering = async {
            let (mut client, _) = server.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = client.read(&mut request).await.unwrap();
            client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8(request[..read].to_vec()).unwrap().to_lowercase()
        };
        let asking = async {
            let client = client(&connection(file.path()), "host").await.unwrap();
            client.send(http::Request::get("/livez").body(Body::empty()).unwrap()).await.unwrap()
        };
        let (request, response) = tokio::join!(answering, asking);
        assert_eq!(response.status(), 204);
        assert!(
            request.starts_with("get /livez") && request.contains("authorization: bearer secret"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_read_is_named_with_its_key() {
        let error = client(&connection(Path::new("/nowhere")), "virtual").await.err().unwrap().to_string();
        assert!(error.contains("/nowhere") && error.contains("`virtual.kubeconfig`"), "{error}");
    }
}
