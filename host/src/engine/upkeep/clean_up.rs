//! Deletes the host objects of a kind that is no longer synced.
//!
//! Only what a list of its own shows, complete and fresh, and what has our identity of this kind; each object
//! only if it still is the one that was decided about.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as signal;
use tracing::{info, warn};
use weft_core::mapper::Mapper;
use weft_core::names::HostName;
use weft_core::object::{Host, Kind};

use crate::engine::apply::Writer;
use crate::engine::cache::state::State;
use crate::engine::cache::store::Store;
use crate::engine::informer::watch::Watch;

/// First pause between two passes over what is left; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Deletes the stale host objects of one kind.
pub(crate) struct CleanUp {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) kind: Kind,
    /// The rules there were.
    pub(crate) mapper: Arc<dyn Mapper>,
    /// Shows what is on the host.
    pub(crate) store: Arc<Store<Host>>,
    /// Whether anything may be written.
    pub(crate) ready: signal::Receiver<bool>,
}

impl CleanUp {
    /// Runs until nothing is left; `watch` fills the store meanwhile.
    pub(crate) async fn run(self, watch: Watch<Host>) {
        tokio::select! {
            () = watch.run() => {}
            () = self.delete_all() => {}
        }
    }

    async fn delete_all(mut self) {
        let mut pause = FIRST_PAUSE;
        while self.ready.wait_for(|ready| *ready).await.is_ok() {
            if self.store.is_synced() && self.delete_each().await == 0 {
                info!(kind = %self.kind, "no host object is left of a kind that is no longer synced");
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Deletes everything that is there; returns the number of objects that were not terminating before.
    async fn delete_each(&self) -> usize {
        let mut found = 0;
        for (namespace, name) in self.store.names() {
            let Some(object) = self.store.peek(&namespace, &name) else { continue };
            if object.is_terminating() || self.state.key_of(&object, &self.kind).is_none() {
                continue;
            }
            found += 1;
            // Readiness may have been lost meanwhile.
            if !*self.ready.borrow() {
                break;
            }
            let (resource, name) = (&self.mapper.spec().resource, HostName::of(&object));
            if let Err(error) = self.writer.delete_host(resource, &name, object.uid(), None).await {
                let error = &error as &dyn std::error::Error;
                warn!(kind = %self.kind, %name, error, "failed to delete a stale object of a kind that is no longer synced; trying again");
            }
        }
        found
    }
}
