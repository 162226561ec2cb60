//! Accepts connections of readers, so many at a time, and has one request of each answered.
//!
//! Any pod of the virtual cluster reaches it, and maybe others. Nothing of what it may take is shared with the port of the
//! virtual API server: not connections, not time, not memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::Answers;
use crate::bucket::{Bucket, Buckets};
use crate::kubelet::listener::prepare;

/// What readers may take.
pub(super) const LIMITS: Limits = Limits {
    // With their buffers, some 16 MiB.
    connections: 256,
    // metrics-server asks for 125 nodes a second, and all wait while the host is asked for figures.
    of_one_address: 128,
    // A handshake takes some 0.3 ms of a processor.
    burst: 512,
    refill: Duration::from_millis(10),
    handshake: Duration::from_secs(5),
    head: Duration::from_secs(5),
    // Readers of a kubelet give up after ten seconds by default.
    whole: Duration::from_secs(15),
};
/// No head of a reader is larger: a token has some 1,200 bytes.
const LARGEST_HEAD: usize = 16 * 1024;
/// Between tries to accept when there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// An open port for readers.
pub(super) struct Port {
    socket: TcpListener,
    tls: TlsAcceptor,
    limits: Limits,
}

/// How many connections there may be, and how long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// So many at once; others are closed.
    pub(super) connections: usize,
    /// So many of them from one address, so that one pod does not keep the others out.
    pub(super) of_one_address: usize,
    /// So many may begin at once from one address, and twice as many from all.
    pub(super) burst: u32,
    /// After this time another one may; from all addresses, two.
    pub(super) refill: Duration,
    pub(super) handshake: Duration,
    pub(super) head: Duration,
    /// How long a connection may take, however slow the reader is.
    pub(super) whole: Duration,
}

/// Room for connections.
#[derive(Clone)]
struct Places(Arc<Mutex<Taken>>);

/// What of it is taken.
struct Taken {
    limits: Limits,
    /// How many connections there are from each address.
    open: HashMap<IpAddr, usize>,
    begun: Buckets<IpAddr>,
    all_begun: Bucket,
}

/// One of these connections; dropping it makes room.
struct Place(Places, IpAddr);

impl Port {
    pub(super) fn new(socket: TcpListener, tls: Arc<ServerConfig>) -> Self {
        Self::with(LIMITS, socket, tls)
    }

    pub(super) fn with(limits: Limits, socket: TcpListener, tls: Arc<ServerConfig>) -> Self {
        Self { socket, tls: tls.into(), limits }
    }

    /// Answers for ever. Every connection ends with it.
    pub(super) async fn serve(self, answers: Arc<Answers>) {
        let (mut connections, places) = (JoinSet::new(), Places::new(self.limits));
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((socket, client)) => {
                        let Some(place) = places.take(client.ip().to_canonical()) else { continue };
                        connections.spawn(connection(self.tls.clone(), self.limits, answers.clone(), socket, place));
                    }
                    Err(error) => {
                        warn!(error = &error as &dyn std::error::Error, "failed to accept a reader of metrics");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

impl Places {
    fn new(limits: Limits) -> Self {
        let begun = Buckets::new(limits.burst, limits.refill);
        let all_begun = Bucket::new(2 * limits.burst, limits.refill / 2);
        Self(Arc::new(Mutex::new(Taken { limits, open: HashMap::new(), begun, all_begun })))
    }

    fn take(&self, client: IpAddr) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.take(client, Instant::now()).then(|| Place(self.clone(), client))
    }
}

impl Taken {
    fn take(&mut self, client: IpAddr, now: Instant) -> bool {
        let of_client = self.open.get(&client).copied().unwrap_or_default();
        let has_room = of_client < self.limits.of_one_address
            && self.open.values().sum::<usize>() < self.limits.connections
            && self.begun.take(&client, now)
            && self.all_begun.take(now);
        if has_room {
            self.open.insert(client, of_client + 1);
        }
        has_room
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self(places, client) = self;
        let mut taken = places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_client) = taken.open.get_mut(client) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.open.remove(client);
            }
        }
    }
}

/// Takes its place until the connection has ended.
async fn connection(
    tls: TlsAcceptor,
    limits: Limits,
    answers: Arc<Answers>,
    socket: TcpStream,
    _place: Place,
) {
    let answered = async {
        prepare(&socket)?;
        let secured = timeout(limits.handshake, tls.accept(socket)).await??;
        let answer = service_fn(async |request: Request<Incoming>| {
            let mut response = answers.answer(&request).await;
            // One request a connection.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            Ok::<_, Infallible>(response)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(secured), answer)
            .await;
        served.map_err(std::io::Error::other)
    };
    // A debug line: whoever reaches the port can cause it.
    let answered = timeout(limits.whole, answered).await;
    debug!(?answered, "a reader of metrics was answered");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn one_address_takes_its_share_and_all_together_what_there_is() {
        let places = Places::new(Limits { connections: 5, of_one_address: 2, ..LIMITS });
        let mut taken: Vec<Place> = (0..2).filter_map(|_| places.take(address(1))).collect();
        assert!(places.take(address(1)).is_none(), "it has its share");
        taken.extend((2..9).filter_map(|last| places.take(address(last))));
        assert_eq!(taken.len(), 5);
        taken.pop();
        assert!(places.take(address(9)).is_some());
        drop(taken);
        assert!(places.0.lock().unwrap().open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_begins_connections_at_its_pace_and_all_together_at_twice_that() {
        let places = Places::new(Limits { burst: 3, ..LIMITS });
        let begun = |last: u8| (0..9).filter_map(|_| places.take(address(last))).count();
        assert_eq!([1, 2, 3].map(begun), [3, 3, 0]);
        tokio::time::advance(LIMITS.refill).await;
        assert_eq!([1, 2, 3].map(begun), [1, 1, 0]);
    }
}
