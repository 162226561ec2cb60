//! Says whether the engine does its work, and why not.

use std::sync::Arc;

use tokio::sync::watch;

use crate::engine::cache::state::State;
use crate::engine::informer::failures::Failures;

/// Whether the engine does its work; cheap to clone.
#[derive(Clone)]
pub struct Health {
    state: Arc<State>,
    failures: Arc<Failures>,
    ready: watch::Receiver<bool>,
}

impl Health {
    /// Of an engine with these caches; `ready` is whether anything may be written.
    pub(super) fn new(state: Arc<State>, failures: Arc<Failures>, ready: watch::Receiver<bool>) -> Self {
        Self { state, failures, ready }
    }

    /// Why the syncer is not ready; none when it is. What is behind other reasons comes first.
    pub fn problem(&self) -> Option<String> {
        if let Some(problem) = self.failures.of_servers() {
            return Some(problem);
        }
        if !*self.ready.borrow() {
            let problem = "the virtual cluster's Service or identity is not as it should be; see the log";
            return Some(problem.to_owned());
        }
        let unlisted = || (!self.state.is_synced()).then(|| "the first lists are not complete".to_owned());
        self.failures.of_kinds().or_else(unlisted)
    }
}
