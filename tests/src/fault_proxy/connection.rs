//! Accepts connections, and hands each request of them on.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use super::Shared;
use super::exchange::exchange;
use super::freeze::Freezer;
use crate::pki::Pair;

/// Where connections come in.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) shared: Arc<Shared>,
    pub(super) freezer: Arc<Freezer>,
}

impl Listener {
    /// Accepts until it is dropped, and every connection with it.
    pub(super) async fn accept_forever(self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    let _ = client.set_nodelay(true);
                    let (carrier, stream) = self.freezer.carry(client);
                    let (tls, shared) = (self.shared.tls(), self.shared.clone());
                    connections.spawn(async move {
                        tokio::select! {
                            () = carrier => {}
                            // What the carrier has of it is still to arrive.
                            never = serve(stream, tls, shared) => match never {},
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Serves a connection; the carrier sees its end, and ends it.
async fn serve(stream: DuplexStream, tls: TlsAcceptor, shared: Arc<Shared>) -> std::convert::Infallible {
    if let Ok(stream) = tls.accept(stream).await {
        let service = service_fn(|request| exchange(shared.clone(), request));
        // A fault ends in an error, as does a client that goes away.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
    std::future::pending().await
}

/// What shows this certificate to clients.
pub(super) fn tls(shown: &Pair) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_slice(shown.certificate.as_bytes()).context("certificate")?;
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).context("key")?;
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key)?).into())
}
