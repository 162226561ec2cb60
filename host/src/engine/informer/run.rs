//! Drives a watch through its states, for as long as it is kept.

use std::error::Error as StdError;
use std::time::Duration;

use rand::Rng;
use tracing::{info, warn};

use crate::api;
use crate::engine::informer::state::{Absent, Backoff, State};
use crate::engine::informer::watch::Watch;

/// Between two lists of a kind that a server lacks or hides.
const ABSENT: Duration = Duration::from_secs(5);
/// Many watches expire at the same time: their lists are spread over this time.
const SPREAD: Duration = Duration::from_millis(500);

impl<S: 'static> Watch<S> {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut state = State::default();
        loop {
            state = self.step(state).await;
        }
    }

    async fn step(&self, state: State) -> State {
        match state {
            State::Listing(listing) => self.list(listing).await,
            State::Listed(listed) => self.remove_unlisted(listed).await,
            State::Watching(watching) => self.follow(watching).await,
            State::Auditing(auditing) => self.audit(auditing).await,
            State::BackingOff(backoff) => self.back_off(backoff).await,
            State::Expired => {
                let pause = rand::rng().random_range(Duration::ZERO..SPREAD);
                tokio::time::sleep(pause).await;
                State::default()
            }
            State::Absent(absent) => self.wait_for_kind(absent).await,
        }
    }

    async fn back_off(&self, backoff: Backoff) -> State {
        // The first failure is often a server that restarts.
        if backoff.failures > 1 {
            let error = &backoff.error as &dyn StdError;
            warn!(kind = %self.resource.kind, error, "{}; trying again", backoff.what);
        }
        let pause = backoff.error.retry_after().unwrap_or_else(|| jittered(backoff.pause()));
        tokio::time::sleep(pause).await;
        *backoff.then
    }

    async fn wait_for_kind(&self, absent: Absent) -> State {
        if !absent.is_known {
            self.report_absent(&absent.error);
        }
        tokio::time::sleep(jittered(ABSENT)).await;
        absent.step()
    }

    fn report_absent(&self, error: &api::Error) {
        let (kind, server) = (self.resource.kind(), self.server);
        if error.is_not_found() {
            let plural = &self.resource.plural;
            warn!(
                %kind, %plural, server,
                "the server does not have this kind under this plural: nothing of it is synced until its CustomResourceDefinition is installed there"
            );
        } else {
            let error = error as &dyn StdError;
            warn!(
                %kind, server, error,
                "nothing of this kind is synced until the syncer has permission to list and watch it there"
            );
        }
    }

    /// Reports that a kind is there which the server did not have.
    pub(super) fn report_present(&self) {
        info!(kind = %self.resource.kind(), server = self.server, "the server has the kind now");
    }
}

fn jittered(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(0.75..1.25))
}
