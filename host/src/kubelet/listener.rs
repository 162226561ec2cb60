//! Accepts connections, so many at a time, and has each of them answered.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::api::Buffered;
use crate::kubelet::refusal::Refusal;
use crate::kubelet::relay::{Relay, Stream};
use crate::kubelet::tls;

/// What one connection, and all of them, may take.
const LIMITS: Limits = Limits {
    // Each of a thousand that never finish is gone after it, so they hold up the API server for no longer.
    handshake: Duration::from_secs(5),
    handshakes: 512,
    // The API server has it ready when it connects.
    head: Duration::from_secs(10),
    // Most of them streams, of at most 256 KiB each.
    requests: 512,
    // A user of the virtual cluster can have as many certificates as it likes.
    refusals: 32,
};
/// How large the head of a request may be. An `http::Uri` takes 64 KiB, which is for commands that are scripts.
const LARGEST_HEAD: usize = 128 * 1024;
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
    limits: Limits,
    handshakes: Arc<Semaphore>,
    places: Places,
}

/// Room for connections after their handshake.
#[derive(Clone)]
struct Places {
    requests: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

/// How long things may take, and how many there may be at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How long a handshake may take.
    pub(super) handshake: Duration,
    /// So many run at once; others wait to be accepted.
    pub(super) handshakes: usize,
    /// How long the head of a request may take.
    pub(super) head: Duration,
    /// So many requests are answered at once, streams included.
    pub(super) requests: usize,
    /// So many clients that are not the API server hear so at once; others are cut.
    pub(super) refusals: usize,
}

/// One connection, from its first byte.
struct Connection {
    tls: TlsAcceptor,
    limits: Limits,
    places: Places,
    relay: Arc<Relay>,
}

impl Listener {
    pub(super) fn new(socket: TcpListener, tls: Arc<ServerConfig>) -> Self {
        Self::with(LIMITS, socket, tls)
    }

    pub(super) fn with(limits: Limits, socket: TcpListener, tls: Arc<ServerConfig>) -> Self {
        let permits = |number| Arc::new(Semaphore::new(number));
        let places = Places { requests: permits(limits.requests), refusals: permits(limits.refusals) };
        Self { socket, tls: tls.into(), limits, handshakes: permits(limits.handshakes), places }
    }

    /// Answers for ever. Every connection ends with it.
    pub(super) async fn serve(self, relay: Arc<Relay>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.accept() => {
                    let Some((socket, handshake)) = accepted else { continue };
                    let (tls, places) = (self.tls.clone(), self.places.clone());
                    let connection = Connection { tls, limits: self.limits, places, relay: relay.clone() };
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
        let secured = timeout(self.limits.handshake, self.tls.accept(Buffered::new(socket))).await;
        drop(handshake);
        match secured {
            Ok(Ok(secured)) => self.answer(secured).await,
            // A debug line: whoever reaches the port can cause it.
            Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "a client was refused"),
            Err(_) => debug!("a client did not finish its handshake"),
        }
    }

    /// Answers the one request of a connection, and stays for the stream that it opens.
    async fn answer(self, secured: TlsStream<Buffered>) {
        let is_api_server = tls::is_api_server(secured.get_ref().1.peer_certificates());
        // None else takes a place from it.
        let places = if is_api_server { &self.places.requests } else { &self.places.refusals };
        let room = places.clone().try_acquire_owned().ok();
        if !is_api_server && room.is_none() {
            debug!("a client that is not the API server was cut");
            return;
        }
        let (upgrades, relay) = (Mutex::new(None::<(OnUpgrade, Option<Stream>)>), &self.relay);
        let answer = service_fn(async |mut request: Request<Incoming>| {
            let upgrade = hyper::upgrade::on(&mut request);
            let (mut response, stream) = match refusal(is_api_server, room.is_some()) {
                Some(refusal) => (refusal.into_response(), None),
                None => relay.answer(&request).await,
            };
            if stream.is_none() {
                // One request a connection. hyper would say so with the answer to an upgrade, too.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            *upgrades.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, stream));
            Ok::<_, Infallible>(response)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(secured), answer)
            .with_upgrades()
            .await;
        debug!(?served, "a request was answered");
        if let Some((upgrade, stream)) = upgrades.into_inner().unwrap_or_else(PoisonError::into_inner) {
            go_on(upgrade, stream, self.limits.head).await;
        }
    }
}

/// Passes a stream on, and ends the connection of a client whose upgrade was refused, which hyper leaves to us.
async fn go_on(upgrade: OnUpgrade, stream: Option<Stream>, patience: Duration) {
    let Ok(client) = upgrade.await else { return };
    match stream {
        Some(stream) => stream.run(client).await,
        None => drop(timeout(patience, TokioIo::new(client).shutdown()).await),
    }
}

fn refusal(is_api_server: bool, has_room: bool) -> Option<Refusal> {
    if !is_api_server {
        let message = "only the API server of this virtual cluster may ask its kubelet: show a client certificate of the group system:masters";
        return Some(Refusal::forbidden(message));
    }
    (!has_room).then(|| Refusal::unavailable("as many streams are open as can be; try again"))
}

pub(super) fn prepare(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(socket).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::AsyncReadExt as _;

    use crate::kubelet::testing::{Authority, Endpoint, soon};

    /// Longer than a test.
    const LONG: Duration = Duration::from_hours(1);
    const LOGS: &str = "GET /containerLogs/shop/web/web";

    #[tokio::test]
    async fn only_the_api_server_of_the_virtual_cluster_is_answered() {
        let endpoint = Endpoint::start().await;
        let other = Authority::new("weft-ca").client("system:masters");
        for stranger in [None, Some(other)] {
            assert!(endpoint.ask_as(stranger, LOGS).await.is_err(), "no handshake");
        }
        let user = endpoint.authority().client("developers");
        let answer = endpoint.ask_as(Some(user), LOGS).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("system:masters"), "{answer}");
        assert!(!endpoint.has_asked_host().await);
    }

    #[tokio::test]
    async fn clients_that_never_finish_a_handshake_make_room_for_others() {
        let limits = Limits { handshake: Duration::from_millis(100), handshakes: 8, ..LIMITS };
        let endpoint = Endpoint::with(limits).await;
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(endpoint.open().await);
        }
        let answer = endpoint.ask("GET /pods").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        let mut rest = Vec::new();
        let cut = silent[0].read_to_end(&mut rest).await;
        assert!(cut.is_err() || rest.is_empty(), "it was cut: {cut:?}");
    }

    #[tokio::test]
    async fn clients_that_are_not_the_api_server_take_no_place_from_it_and_few_at_all() {
        let endpoint = Endpoint::with(Limits { refusals: 2, requests: 1, head: LONG, ..LIMITS }).await;
        let mut users = Vec::new();
        for _ in 0..8 {
            let user = endpoint.authority().client("developers");
            users.push(endpoint.connect(Some(user)).await.unwrap());
        }
        // Those that found no place are cut without a word.
        let cut = users.split_off(2);
        for mut user in cut {
            let mut rest = Vec::new();
            let ended = soon(user.read_to_end(&mut rest)).await;
            assert!(ended.is_err() || rest.is_empty(), "it was cut: {ended:?}");
        }
        let answer = endpoint.ask("GET /pods").await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("system:masters"), "{answer}");
        for mut user in users {
            user.write_all(b"GET /pods HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            soon(user.read_to_string(&mut answer)).await.unwrap();
            assert!(answer.contains("system:masters"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_head_that_is_slow_or_too_large_ends_the_connection() {
        let endpoint = Endpoint::with(Limits { head: Duration::from_millis(100), ..LIMITS }).await;
        let answer = endpoint.ask(&format!("GET /pods|X-Filler: {}", "a".repeat(2 * LARGEST_HEAD))).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        let answer = endpoint.ask(&format!("GET /pods?{}", "a".repeat(70_000))).await;
        assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
        let mut slow = endpoint.connect(Some(endpoint.api_server())).await.unwrap();
        slow.write_all(b"GET /pods HTTP/1.1\r\nHost: ").await.unwrap();
        let mut rest = Vec::new();
        let ended = soon(slow.read_to_end(&mut rest)).await;
        assert!(ended.is_err() || rest.is_empty(), "it got no answer: {ended:?}");
    }

    #[tokio::test]
    async fn what_finds_no_room_is_told_so_and_a_stream_that_ends_makes_room() {
        let endpoint = Endpoint::with(Limits { requests: 1, ..LIMITS }).await;
        let first = endpoint.send(Some(endpoint.api_server()), LOGS).await.unwrap();
        let (host, _) = endpoint.on_host().await;
        let answer = endpoint.ask(LOGS).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        drop((first, host));
        let freed = async {
            while endpoint.ask("GET /pods").await.starts_with("HTTP/1.1 503 ") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(freed).await;
    }
}
