//! Accepts connections, so many at a time, and has each of them answered.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::kubelet::refusal::Refusal;
use crate::kubelet::relay::{Relay, Stream};
use crate::kubelet::tls;

/// A handshake takes milliseconds.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// So many handshakes run at once; others wait to be accepted. A thousand that never finish hold up the API server for 5 s.
const HANDSHAKES: usize = 512;
/// How long the head of a request may take; the API server has it ready when it connects.
const HEAD: Duration = Duration::from_secs(10);
/// How large it may be. An `http::Uri` takes 64 KiB, which is for commands that are scripts.
const LARGEST_HEAD: usize = 128 * 1024;
/// So many requests are answered at once, most of them streams: 256 KiB each.
const REQUESTS: usize = 512;
/// A machine that is gone without a word is noticed within a minute.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// Between tries to accept when there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// An open port.
pub(super) struct Listener {
    socket: TcpListener,
    tls: TlsAcceptor,
    handshakes: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// One connection, from its first byte.
struct Connection {
    tls: TlsAcceptor,
    requests: Arc<Semaphore>,
    relay: Arc<Relay>,
}

impl Listener {
    pub(super) fn new(socket: TcpListener, tls: Arc<ServerConfig>) -> Self {
        let permits = |number| Arc::new(Semaphore::new(number));
        Self { socket, tls: tls.into(), handshakes: permits(HANDSHAKES), requests: permits(REQUESTS) }
    }

    /// Answers for ever. Every connection ends with it.
    pub(super) async fn serve(self, relay: Arc<Relay>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.accept() => {
                    let Some((socket, handshake)) = accepted else { continue };
                    let (tls, requests) = (self.tls.clone(), self.requests.clone());
                    let connection = Connection { tls, requests, relay: relay.clone() };
                    connections.spawn(connection.run(socket, handshake));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn accept(&self) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.handshakes.clone().acquire_owned().await.ok()?;
        match self.socket.accept().await {
            Ok((socket, _)) => Some((socket, permit)),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to accept a connection of the virtual API server"
                );
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }
}

impl Connection {
    async fn run(self, socket: TcpStream, handshake: OwnedSemaphorePermit) {
        if let Err(error) = prepare(&socket) {
            debug!(error = &error as &dyn std::error::Error, "a connection has no keep-alive probes");
        }
        let secured = timeout(HANDSHAKE, self.tls.accept(socket)).await;
        drop(handshake);
        match secured {
            Ok(Ok(secured)) => self.answer(secured).await,
            // A debug line: whoever reaches the port can cause it.
            Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "a client was refused"),
            Err(_) => debug!("a client did not finish its handshake"),
        }
    }

    /// Answers the one request of a connection, and stays for the stream that it opens.
    async fn answer(self, secured: TlsStream<TcpStream>) {
        let is_api_server = tls::is_api_server(secured.get_ref().1.peer_certificates());
        let room = self.requests.try_acquire_owned().ok();
        let (opened, relay) = (Mutex::new(None::<Stream>), &self.relay);
        let answer = service_fn(async |request: Request<Incoming>| {
            let refusal = refusal(is_api_server, room.is_some());
            let (mut response, stream) = match refusal {
                Some(refusal) => (refusal.into_response(), None),
                None => relay.answer(request).await,
            };
            if stream.is_none() {
                // One request a connection. hyper would say so with the answer to an upgrade, too.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            *opened.lock().unwrap_or_else(PoisonError::into_inner) = stream;
            Ok::<_, Infallible>(response)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(secured), answer)
            .with_upgrades()
            .await;
        debug!(?served, "a request was answered");
        let opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = opened {
            stream.run().await;
        }
    }
}

fn refusal(is_api_server: bool, has_room: bool) -> Option<Refusal> {
    if !is_api_server {
        let message = "only the API server of this virtual cluster may ask its kubelet: show a client certificate of the group system:masters";
        return Some(Refusal::forbidden(message));
    }
    (!has_room).then(|| {
        Refusal::unavailable(format!("{REQUESTS} streams are open, which is all that can be; try again"))
    })
}

fn prepare(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(socket).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))
}
