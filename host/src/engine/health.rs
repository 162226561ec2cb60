//! Says whether the engine does its work, and why not.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use weft_core::object::Kind;

use crate::engine::cache::kinds::SyncedKind;
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

    /// The kinds that a server does not serve as they are mapped, and why: nothing of them is synced.
    pub fn unserved(&self) -> BTreeMap<Kind, String> {
        let kinds = self.state.kinds();
        let why = |synced: &SyncedKind| synced.host.unserved().or_else(|| synced.r#virtual.unserved());
        kinds.each_synced().filter_map(|(kind, synced)| Some((kind.clone(), why(synced)?))).collect()
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
