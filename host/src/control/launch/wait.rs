//! Waits for what a program of the control plane needs, and says what it waits for.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tracing::info;
use weft_core::object::Virtual;

use super::flags::STORE_SOCKET;
use crate::api::{self, Api, ConnectError};
use crate::config::Connection;
use crate::control::credentials::kubeconfig_of;

/// Between two tries.
const RETRY: Duration = Duration::from_millis(100);
/// How often the log repeats what is waited for.
const REMIND: Duration = Duration::from_secs(5);

/// Why something cannot be waited for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig that `weft init` writes cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Waits until the store accepts connections.
pub(super) async fn for_store(folder: &Path) {
    let socket = folder.join(STORE_SOCKET);
    until("the store accepts connections", async || UnixStream::connect(&socket).await.is_ok()).await;
}

/// Waits until the API server is ready: a controller manager that starts earlier ends again.
pub(super) async fn for_api(folder: &Path) -> Result<(), Error> {
    let kubeconfig = Some(kubeconfig_of(folder, "controllers"));
    let api: Api<Virtual> = Api::connect(&Connection { kubeconfig, context: None }, "virtual").await?;
    until("the API server is ready", async || api.send(api::get("/readyz")).await.is_ok()).await;
    Ok(())
}

async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    let mut next = REMIND;
    while !probe().await {
        if started.elapsed() >= next {
            info!(seconds = started.elapsed().as_secs(), "waiting until {what}");
            next += REMIND;
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_store_is_awaited_until_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let waiting = for_store(folder.path());
        let listening = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            tokio::net::UnixListener::bind(folder.path().join(STORE_SOCKET)).unwrap()
        };
        let _ = tokio::join!(waiting, listening);
    }
}
