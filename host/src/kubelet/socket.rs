//! Opens the ports of the kubelet's endpoint; for one that another program has, it waits, and says so.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::kubelet::Error;

/// Between two tries to open a port: whoever has it may be the syncer before this one, which ends.
const PAUSE: Duration = Duration::from_secs(1);

/// The ports that are not open, by their settings.
#[derive(Debug, Clone, Default)]
pub struct Taken(Arc<Mutex<BTreeMap<&'static str, SocketAddr>>>);

impl Taken {
    /// Why not all of the endpoint works; none when it does.
    pub fn problem(&self) -> Option<String> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, address) = taken.first_key_value()?;
        Some(format!(
            "another program listens on `{key}` {address}: logs, exec, attach, port-forward and metrics wait for that port; end \
             the program, or set `kubelet.listen` to another port"
        ))
    }

    fn set(&self, key: &'static str, address: Option<SocketAddr>) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match address {
            Some(address) => taken.insert(key, address),
            None => taken.remove(key),
        };
    }
}

/// A port that is open, or will be.
pub(super) struct Socket {
    key: &'static str,
    address: SocketAddr,
    open: Option<TcpListener>,
    taken: Taken,
}

impl Socket {
    /// Opens the port of the setting `key`, unless another program has it. What no waiting cures is an error.
    pub(super) async fn open(key: &'static str, address: SocketAddr, taken: &Taken) -> Result<Self, Error> {
        let open = match TcpListener::bind(address).await {
            Ok(open) => Some(open),
            Err(error) if error.kind() == ErrorKind::AddrInUse => None,
            Err(source) => return Err(Error::Listen { key, address, source }),
        };
        let bound = open.as_ref().and_then(|open| open.local_addr().ok());
        let socket = Self { key, address: bound.unwrap_or(address), open, taken: taken.clone() };
        if socket.open.is_none() {
            socket.taken.set(key, Some(address));
            warn!("{}", socket.taken.problem().unwrap_or_default());
        }
        Ok(socket)
    }

    /// Its port, also before it is open.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The open port, as soon as it is.
    pub(super) async fn opened(self) -> TcpListener {
        if let Some(open) = self.open {
            return open;
        }
        loop {
            tokio::time::sleep(PAUSE).await;
            if let Ok(open) = TcpListener::bind(self.address).await {
                self.taken.set(self.key, None);
                info!(setting = self.key, address = %self.address, "the port is free, and open now");
                return open;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::Ipv4Addr;

    use crate::kubelet::testing::soon;

    #[tokio::test]
    async fn a_port_that_another_program_has_is_opened_once_it_is_free() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, taken) = (other.local_addr().unwrap(), Taken::default());
        let socket = Socket::open("kubelet.listen", address, &taken).await.unwrap();
        assert_eq!(socket.port(), address.port(), "nodes publish it meanwhile");
        let problem = taken.problem().unwrap();
        assert!(problem.contains(&format!("`kubelet.listen` {address}")), "{problem}");
        drop(other);
        let open = soon(socket.opened()).await;
        assert_eq!((open.local_addr().unwrap(), taken.problem()), (address, None));
    }

    #[tokio::test]
    async fn a_port_that_is_free_is_open_at_once_and_an_address_that_nobody_has_is_an_error() {
        let taken = Taken::default();
        let open = Socket::open("kubelet.listen", (Ipv4Addr::LOCALHOST, 0).into(), &taken).await.unwrap();
        assert!(open.port() > 0 && taken.problem().is_none());
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = Socket::open("kubelet.listen", elsewhere, &taken).await.err().unwrap().to_string();
        assert!(error.contains("`kubelet.listen` 192.0.2.1:"), "{error}");
    }
}
