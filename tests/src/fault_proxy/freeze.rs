//! Carries the bytes of each connection, until they are frozen or the connection is cut.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Bytes that one direction of a connection may hold back.
const BUFFER: usize = 64 * 1024;

/// What holds for all connections.
#[derive(Debug, Default)]
pub(super) struct Freezer(watch::Sender<State>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Of the connection that comes next.
    next: u64,
    is_all_frozen: bool,
    /// Connections with smaller numbers are frozen.
    frozen_below: u64,
    /// Connections with this number and greater ones are frozen.
    frozen_from: Option<u64>,
    /// Connections with smaller numbers are cut.
    cut_below: u64,
}

impl State {
    fn freezes(&self, number: u64) -> bool {
        self.is_all_frozen
            || number < self.frozen_below
            || self.frozen_from.is_some_and(|first| number >= first)
    }
}

impl Freezer {
    pub(super) fn freeze_all(&self) {
        self.0.send_modify(|state| state.is_all_frozen = true);
    }

    pub(super) fn freeze_open(&self) {
        self.0.send_modify(|state| state.frozen_below = state.next);
    }

    pub(super) fn freeze_new(&self) {
        self.0.send_modify(|state| state.frozen_from = Some(state.next));
    }

    pub(super) fn thaw(&self) {
        self.0.send_modify(|state| {
            (state.is_all_frozen, state.frozen_below, state.frozen_from) = (false, 0, None);
        });
    }

    pub(super) fn cut_open(&self) {
        self.0.send_modify(|state| state.cut_below = state.next);
    }

    /// What carries a new connection, and the end of it that the proxy reads.
    pub(super) fn carry(&self, client: TcpStream) -> (impl Future<Output = ()> + use<>, DuplexStream) {
        let mut number = 0;
        self.0.send_modify(|state| {
            number = state.next;
            state.next += 1;
        });
        let (near, far) = tokio::io::duplex(BUFFER);
        (Carrier { number, state: self.0.subscribe() }.run(client, far), near)
    }
}

/// Carries the bytes of one connection.
#[derive(Clone)]
struct Carrier {
    number: u64,
    state: watch::Receiver<State>,
}

impl Carrier {
    async fn run(self, client: TcpStream, proxy: DuplexStream) {
        let (client_read, client_write) = client.into_split();
        let (proxy_read, proxy_write) = tokio::io::split(proxy);
        let mut cut = self.clone();
        tokio::select! {
            () = self.clone().pump(client_read, proxy_write) => {}
            () = self.clone().pump(proxy_read, client_write) => {}
            () = cut.until(|state, number| number < state.cut_below) => {}
        }
    }

    /// Carries one direction to its end; then both are closed, as HTTP needs no half of a connection.
    async fn pump(mut self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = vec![0; BUFFER];
        loop {
            self.flows().await;
            let read = from.read(&mut buffer).await;
            self.flows().await;
            if !matches!(Self::write(&mut to, &buffer, read).await, Ok(true)) {
                return;
            }
        }
    }

    /// Returns whether there may be more.
    async fn write(
        to: &mut (impl AsyncWrite + Unpin),
        buffer: &[u8],
        read: io::Result<usize>,
    ) -> io::Result<bool> {
        let bytes = buffer.get(..read?).unwrap_or_default();
        to.write_all(bytes).await?;
        to.flush().await?;
        Ok(!bytes.is_empty())
    }

    async fn flows(&mut self) {
        self.until(|state, number| !state.freezes(number)).await;
    }

    async fn until(&mut self, is_so: impl Fn(&State, u64) -> bool) {
        let number = self.number;
        // An error says that the proxy is gone, and its connections go with it.
        let _ = self.state.wait_for(|state| is_so(state, number)).await;
    }
}
