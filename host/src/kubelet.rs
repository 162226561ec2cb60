//! The kubelet of made-up nodes: what the virtual API server connects to for logs, exec, attach and port-forward.
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
mod query;
mod refusal;
mod relay;
#[cfg(test)]
mod testing;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use weft_core::object::Host;

use crate::api::Api;
use crate::config::{self, KubeletTls};
use crate::engine::{self, Pods};
use listener::Listener;
use relay::Relay;

/// An endpoint with its port, which does not answer yet.
pub struct Kubelet {
    listener: Listener,
    address: String,
    port: u16,
}

/// Why it cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its port cannot be opened.
    #[error("failed to listen on `kubelet.listen` {address}")]
    Listen {
        /// The setting.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Its keys cannot be used.
    #[error("failed to prepare the kubelet's endpoint; `kubelet.enabled: false` turns it off")]
    Tls(#[from] tls::Error),
}

impl Kubelet {
    /// Reads the keys and opens the port.
    pub async fn bind(settings: &config::Kubelet, keys: &KubeletTls) -> Result<Self, Error> {
        let tls = tls::server(keys)?;
        let listen = |source| Error::Listen { address: settings.listen, source };
        let socket = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let port = socket.local_addr().map_err(listen)?.port();
        Ok(Self { listener: Listener::new(socket, tls), address: settings.address.clone(), port })
    }

    /// Where nodes say that it is.
    pub fn published(&self) -> engine::Kubelet {
        engine::Kubelet { address: self.address.clone(), port: self.port }
    }

    /// Answers for ever; its streams end with it.
    pub async fn serve(self, pods: Pods, host: Api<Host>) {
        self.listener.serve(Arc::new(Relay::new(pods, host))).await;
    }
}
