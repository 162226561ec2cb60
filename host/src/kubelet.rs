//! The kubelet of made-up nodes: what the virtual API server connects to for logs, exec, attach and port-forward, and, where
//! that is on, metrics-server for figures.
//!
//! ```text
//! kubectl ─► virtual API server ─► kubelet of the node: here ─► host API server ─► the host's kubelet ─► container
//! ```
//!
//! The virtual API server has authorised and admitted the request, as its tenant configured it. Here the pod of the
//! virtual cluster becomes that of the host, and streams pass as they are: no byte of one is read.

mod asked;
mod headers;
mod host_refusal;
mod listener;
mod metrics;
mod query;
mod refusal;
mod relay;
mod socket;
#[cfg(test)]
mod testing;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ServerConfig;
use weft_core::object::{Host, Virtual};

use crate::api::Api;
use crate::config::{self, KubeletTls};
use crate::engine::{self, Pods};
use listener::Listener;
use metrics::Metrics;
use relay::Relay;
use socket::Socket;
pub use socket::Taken;

/// An endpoint with its port, which does not answer yet.
pub struct Kubelet {
    socket: Socket,
    tls: Arc<ServerConfig>,
    metrics: Option<ForReaders>,
    address: String,
    port: u16,
}

/// What readers of metrics connect to.
struct ForReaders {
    socket: Socket,
    tls: Arc<ServerConfig>,
    address: IpAddr,
}

/// Why it cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its port cannot be opened.
    #[error("failed to listen on `{key}` {address}")]
    Listen {
        /// The setting.
        key: &'static str,
        /// Its value, with the port.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Readers of metrics have no address.
    #[error(
        "`kubelet.metrics.enabled` needs the address at which pods reach the syncer: set `kubelet.metrics.address`, or the variable POD_IP as the chart does"
    )]
    NoAddress,
    /// Its keys cannot be used.
    #[error("failed to prepare the kubelet's endpoint; `kubelet.enabled: false` turns it off")]
    Tls(#[from] tls::Error),
}

impl Kubelet {
    /// Reads the keys and opens the ports. One that another program has is noted in `taken`, and opened later.
    pub async fn bind(settings: &config::Kubelet, keys: &KubeletTls, taken: &Taken) -> Result<Self, Error> {
        let tls = tls::server(keys)?;
        let socket = Socket::open("kubelet.listen", settings.listen, taken).await?;
        let port = socket.port();
        let metrics = if settings.metrics.enabled {
            let address = settings.metrics.address().ok_or(Error::NoAddress)?;
            // Nodes publish one port.
            let socket = SocketAddr::new(address, port);
            let socket = Socket::open("kubelet.metrics.address", socket, taken).await?;
            Some(ForReaders { socket, tls: tls::for_readers(keys)?, address })
        } else {
            None
        };
        Ok(Self { socket, tls, metrics, address: settings.address.clone(), port })
    }

    /// Where nodes say that it is.
    pub fn published(&self) -> engine::Kubelet {
        let readers = self.metrics.as_ref().map(|metrics| metrics.address);
        engine::Kubelet { address: self.address.clone(), readers, port: self.port }
    }

    /// Answers for ever, on each port once it is open; its streams end with it.
    pub async fn serve(self, pods: Pods, host: Api<Host>, r#virtual: Api<Virtual>) {
        let relay = Arc::new(Relay::new(pods.clone(), host.clone()));
        let relaying = async { Listener::new(self.socket.opened().await, self.tls).serve(relay).await };
        let reading = async {
            match self.metrics {
                Some(ForReaders { socket, tls, .. }) => {
                    Metrics::new(socket.opened().await, tls).serve(pods, host, r#virtual).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::join!(relaying, reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use crate::config::KubeletMetrics;
    use crate::kubelet::testing::{Authority, keys};

    #[tokio::test]
    async fn readers_get_the_same_port_at_an_address_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(&folder, &Authority::new("weft-ca"));
        let bind = async |address: Option<[u8; 4]>, enabled: bool| {
            let address = address.map(IpAddr::from);
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let metrics = KubeletMetrics { enabled, address };
            Kubelet::bind(
                &config::Kubelet { listen, metrics, ..config::Kubelet::default() },
                &keys,
                &Taken::default(),
            )
            .await
        };
        let kubelet = bind(Some([127, 0, 0, 2]), true).await.unwrap();
        let published = kubelet.published();
        assert_eq!(published.readers, Some([127, 0, 0, 2].into()));
        assert!(TcpListener::bind(("127.0.0.2", published.port)).await.is_err(), "it is taken");
        assert_eq!(bind(Some([127, 0, 0, 2]), false).await.unwrap().published().readers, None);
        // Of a network that nobody has.
        let error = bind(Some([192, 0, 2, 1]), true).await.err().unwrap().to_string();
        assert!(error.contains("`kubelet.metrics.address` 192.0.2.1:"), "{error}");
        let error = bind(None, true).await.err().unwrap().to_string();
        assert!(error.contains("POD_IP"), "{error}");
    }
}
