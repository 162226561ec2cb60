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
    /// Whether the server was away before: what it lacks may belong to a past that it has lost.
    was_away: bool,
}

/// What a page of an audit shows.
#[derive(Debug)]
pub(in crate::engine::informer) enum Finding {
    /// The store has what the page has; `next` is the token of the page after it.
    Same { next: String },
    /// The same of the last page; what no page had of the objects up to the version of them all.
    Complete(Unlisted),
    /// The store lacks something, or has it in another version.
    Missed,
}

impl Auditing {
    /// An audit of what the watch has shown so far.
    pub(super) fn begin(watching: Watching) -> State {
        State::Auditing(Self { watching, next: String::new(), names: Names::new(), was_away: false })
    }

    /// An audit of a server that was away.
    pub(super) fn after_outage(watching: Watching) -> State {
        State::Auditing(Self { watching, next: String::new(), names: Names::new(), was_away: true })
    }

    /// Whether it is of a server that was away.
    pub(in crate::engine::informer) fn was_away(&self) -> bool {
        self.was_away
    }

    /// After a page was compared, or was not to be had: then the audit begins anew after the next watch, or, of a server that was
    /// away, a list takes its place.
    pub(in crate::engine::informer) fn step(self, page: Result<Finding, Error>, now: Instant) -> State {
        match page {
            Ok(Finding::Same { next }) => State::Auditing(Self { next, ..self }),
            Ok(Finding::Complete(unlisted)) => self.complete(unlisted, now),
            Ok(Finding::Missed) => State::Expired,
            Err(error) => {
                let then = if self.was_away { State::default() } else { State::Watching(self.watching) };
                let (what, then) = ("failed to check what is cached", Box::new(then));
                State::BackingOff(Backoff { what, error, failures: 1, then })
            }
        }
    }

    /// What was deleted after our place in the watch is unlisted too, and its event still to come. So what is unlisted is
    /// missed only if it is so again after one more watch, while the store has it in the very same version. Of a server that was away
    /// the watch may not show it at all.
    fn complete(self, unlisted: Unlisted, now: Instant) -> State {
        let was_unlisted = |(name, version)| self.watching.unlisted.get(name) == Some(version);
        if unlisted.iter().any(was_unlisted) || (self.was_away && !unlisted.is_empty()) {
            return State::Expired;
        }
        State::Watching(Watching { unlisted, next_audit: now + AUDIT, ..self.watching })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Listing;
    use super::*;

    use crate::engine::informer::wire::PageMetadata;

    /// A place in the watch, after a list of version 7.
    fn watching() -> Watching {
        let page = PageMetadata { version: "7".to_owned(), next: String::new() };
        match Listing::default().step(Ok(page)) {
            State::Listed(list) => Watching::since(list, Instant::now()),
            other => panic!("{other:?} is no Listed"),
        }
    }

    #[track_caller]
    fn auditing(state: State) -> Auditing {
        match state {
            State::Auditing(auditing) => auditing,
            other => panic!("{other:?} is no Auditing"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unlisted_is_looked_for_once_more_unless_the_server_was_away() {
        let unlisted = Unlisted::from([(("a".to_owned(), "b".to_owned()), ResourceVersion::new("5"))]);
        let audited = |state| auditing(state).step(Ok(Finding::Complete(unlisted.clone())), Instant::now());
        let place = match audited(Auditing::begin(watching())) {
            State::Watching(place) => place,
            other => panic!("{other:?}: its deletion may be on its way"),
        };
        assert!(matches!(audited(Auditing::begin(place)), State::Expired));
        assert!(matches!(audited(Auditing::after_outage(watching())), State::Expired));
    }
}
