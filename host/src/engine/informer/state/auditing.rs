//! How an audit goes on page by page, and when the watch has missed what it finds: no I/O, no clock, no store.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{AUDIT, Backoff, Names, State, Watching};
use crate::engine::cache::version::ResourceVersion;
use crate::engine::informer::error::Error;

/// Namespace, name and version of objects that the store has and the server has not.
pub(in crate::engine::informer) type Unlisted = BTreeMap<(String, String), ResourceVersion>;

/// How far an audit has come.
#[derive(Debug)]
pub(in crate::engine::informer) struct Auditing {
    /// Where the watch goes on afterwards.
    pub(in crate::engine::informer) watching: Watching,
    /// Token of the page that comes next; empty before the first.
    pub(in crate::engine::informer) next: String,
    pub(in crate::engine::informer) names: Names,
}

/// What a page of an audit shows.
#[derive(Debug)]
pub(in crate::engine::informer) enum Finding {
    /// The store has what the page has; `next` is the token of the page after it.
    Same { next: String },
    /// The same of the last page; what no page had of the objects up to our place in the watch.
    Complete(Unlisted),
    /// The store lacks something, or has it in another version.
    Missed,
}

impl Auditing {
    /// After a page was compared, or was not to be had: then the audit begins anew after the next watch.
    pub(in crate::engine::informer) fn step(self, page: Result<Finding, Error>, now: Instant) -> State {
        match page {
            Ok(Finding::Same { next }) => State::Auditing(Self { next, ..self }),
            Ok(Finding::Complete(unlisted)) => self.complete(unlisted, now),
            Ok(Finding::Missed) => State::Expired,
            Err(error) => {
                let then = Box::new(State::Watching(self.watching));
                State::BackingOff(Backoff {
                    what: "failed to check what is cached",
                    error,
                    failures: 1,
                    then,
                })
            }
        }
    }

    /// What was deleted after our place in the watch is unlisted too, and its event still to come. So what is unlisted is
    /// missed only if it is so again after one more watch, while the store has it in the very same version.
    fn complete(self, unlisted: Unlisted, now: Instant) -> State {
        let was_unlisted = |(name, version)| self.watching.unlisted.get(name) == Some(version);
        if unlisted.iter().any(was_unlisted) {
            return State::Expired;
        }
        State::Watching(Watching { unlisted, next_audit: now + AUDIT, ..self.watching })
    }
}
