//! The states of a watch, and what leads from one to the next: no I/O, no clock, no store.
//!
//! ```text
//! Absent ◄──► Listing ───► Listed ───► Watching ◄──► Auditing
//!                ▲                         │             │
//!                └──────── Expired ◄───────┴─────────────┘
//!
//! Absent also follows a watch that is refused; any other failure ───► BackingOff ───► Listing, or Watching (Auditing) after a list
//! ```

mod auditing;

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::api;
use crate::engine::cache::store::Absence;
use crate::engine::cache::version::ResourceVersion;
use crate::engine::informer::effect::Effect;
use crate::engine::informer::error::Error;
pub(super) use crate::engine::informer::state::auditing::{Auditing, Finding, Unlisted};
use crate::engine::informer::wire::{Event, HeadMetadata, PageMetadata};

/// How often names and versions are compared with the server's.
const AUDIT: Duration = Duration::from_mins(5);
/// Doubled once for each failure in a row, this is the pause after it.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// A watch that was open for so long went well, however it ended.
const STEADY: Duration = Duration::from_secs(5);
/// Longest pause after failures.
const LAST_BACKOFF: Duration = Duration::from_secs(10);

/// Where the watch of one kind stands.
#[derive(Debug)]
pub(super) enum State {
    /// Reads the list page by page, and stores each page as it comes.
    Listing(Listing),
    /// Every page is in: what none of them had leaves the store, once the server's identity is confirmed.
    Listed(Listed),
    /// Follows the changes since a resource version; a watch that ends is resumed where it was.
    Watching(Watching),
    /// Compares names and versions with the server's, page by page, because a frame may have been lost.
    Auditing(Auditing),
    /// Something failed: waits longer with each failure in a row, or as long as the server asks, and tries again.
    BackingOff(Backoff),
    /// The server has forgotten the version, or the store lacks what it has: lists again after a random pause.
    Expired,
    /// The server lacks the kind or hides it: looks for it again every few seconds.
    Absent(Absent),
}

/// Namespace and name of every object that a list has shown so far.
pub(super) type Names = HashSet<(String, String)>;

/// How far a list has come.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Token of the page that comes next; empty before the first.
    pub(super) next: String,
    pub(super) names: Names,
    /// Of the server when the list was begun, and how often it could not be reached until then.
    pub(super) epoch: u64,
    pub(super) outages: u64,
    tries: Tries,
}

/// A complete list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) names: Names,
    /// Of the server when the list was made.
    pub(super) version: ResourceVersion,
    pub(super) epoch: u64,
    outages: u64,
    tries: Tries,
}

/// How lists have ended since the last complete one.
#[derive(Debug, Default, Clone, Copy)]
struct Tries {
    failures: u32,
    /// Whether the server lacked the kind.
    is_absent: bool,
    /// Whether a complete list lacked so much that it is read a second time.
    is_doubted: bool,
}

/// A place in the server's history.
#[derive(Debug)]
pub(super) struct Watching {
    /// Of the last event that was seen.
    pub(super) version: ResourceVersion,
    /// Of the server when its list was begun.
    pub(super) epoch: u64,
    /// In a row: neither frames nor time between them.
    failures: u32,
    opened: Option<Instant>,
    /// Whether the version has moved since the watch was opened.
    has_moved: bool,
    /// How often the server could not be reached until the list was begun, or the last watch.
    outages: u64,
    next_audit: Instant,
    /// What the last audit did not find, to be asked again after a watch that could show why.
    unlisted: Unlisted,
}

/// A failure, and what is tried again after a pause.
#[derive(Debug)]
pub(super) struct Backoff {
    /// For the log: `failed to list`.
    pub(super) what: &'static str,
    pub(super) error: Error,
    /// How often in a row.
    pub(super) failures: u32,
    pub(super) then: Box<State>,
}

/// A kind that the server lacks or hides.
#[derive(Debug)]
pub(super) struct Absent {
    pub(super) error: api::Error,
    tries: Tries,
}

impl Default for State {
    fn default() -> Self {
        Self::Listing(Listing::default())
    }
}

impl Listing {
    fn again(tries: Tries) -> State {
        State::Listing(Self { tries, ..Self::default() })
    }

    /// After a page was stored, or was not to be had: then nothing of this list counts.
    pub(super) fn step(self, page: Result<PageMetadata, Error>) -> State {
        match page {
            Ok(PageMetadata { next, .. }) if !next.is_empty() => State::Listing(Self { next, ..self }),
            Ok(PageMetadata { version, .. }) => {
                let version = ResourceVersion::new(&version);
                let Self { names, epoch, outages, tries, .. } = self;
                State::Listed(Listed { names, version, epoch, outages, tries })
            }
            Err(Error::Absent(error)) => {
                let tries = Tries { is_absent: true, ..self.tries };
                State::Absent(Absent { error, tries })
            }
            Err(error) => self.tries.failed(error),
        }
    }
}

impl Listed {
    /// After everything else has left the store, or the server was not confirmed: then the list begins anew.
    pub(super) fn step(self, removed: Result<(), Error>, now: Instant) -> State {
        match removed {
            Ok(()) => State::Watching(Watching::since(self, now)),
            Err(error) => self.tries.failed(error),
        }
    }

    /// Whether the list before this one lacked so much that this one has to confirm it.
    pub(super) fn is_second_reading(&self) -> bool {
        self.tries.is_doubted
    }

    /// Whether the server lacked the kind before this list.
    pub(super) fn was_absent(&self) -> bool {
        self.tries.is_absent
    }
}

impl Tries {
    fn failed(self, error: Error) -> State {
        let failures = self.failures + 1;
        let is_doubted = self.is_doubted || matches!(error, Error::ManyMissing { .. });
        let then = Box::new(Listing::again(Self { failures, is_doubted, ..self }));
        State::BackingOff(Backoff { what: "failed to list", error, failures, then })
    }
}

impl Watching {
    fn since(Listed { version, epoch, outages, .. }: Listed, now: Instant) -> Self {
        let (opened, next_audit, unlisted) = (None, now + AUDIT, Unlisted::new());
        Self { version, epoch, failures: 0, opened, has_moved: false, outages, next_audit, unlisted }
    }

    /// The server has begun to send events; it could not be reached so often so far. Fails if it was away since the last watch: it
    /// may be back with an older state, and have written more since than it lost. Then its version shows nothing, and an audit
    /// comes first.
    pub(super) fn opened(&mut self, outages: u64, now: Instant) -> Result<(), Error> {
        self.opened = Some(now);
        let before = std::mem::replace(&mut self.outages, outages);
        if before == outages { Ok(()) } else { Err(Error::WasAway) }
    }

    /// After an event: moves to its version and says what it does to the store; fails if it ends the watch.
    pub(super) fn event<'a>(&mut self, event: Event<'a>) -> Result<Effect<'a>, Error> {
        let (version, effect) = match event {
            Event::Error(status) => {
                return Err(Error::Ended { code: status.code, message: status.message });
            }
            Event::Bookmark(head) if self.version.is_newer_than(&ResourceVersion::new(&head.version)) => {
                return Err(Error::WentBack);
            }
            Event::Bookmark(head) => (head.version, Effect::Nothing),
            Event::Stored(head, object) => (head.version.clone(), Effect::Put { head, object }),
            Event::Removed(HeadMetadata { namespace, name, version, deleted, .. }) => {
                // An object that only stopped matching our selector was not being deleted.
                let absence = if deleted.is_some() { Absence::Deleted } else { Absence::Unseen };
                (version, Effect::Remove { namespace, name, absence })
            }
        };
        let version = ResourceVersion::new(&version);
        if version != self.version {
            (self.version, self.has_moved, self.failures) = (version, true, 0);
        }
        Ok(effect)
    }

    /// After the watch has ended, as it was asked to or by a failure.
    pub(super) fn step(mut self, end: Result<(), Error>, now: Instant) -> State {
        let lasted = self.opened.take().is_some_and(|opened| now - opened >= STEADY);
        let has_moved = std::mem::take(&mut self.has_moved);
        self.failures = if lasted { 0 } else { self.failures };
        match end {
            Ok(()) if has_moved || lasted => self.failures = 0,
            // A server, or what is before it, may end every watch at once.
            Ok(()) => return self.back_off(Error::TooShort, |watching| watching.next(now)),
            Err(error) if error.is_expired() => return State::Expired,
            Err(Error::WasAway) => return Auditing::after_outage(self),
            // The list after the pause finds the same and reports it, or finds that only the watch is refused.
            Err(Error::Absent(error)) => {
                let tries = Tries { is_absent: true, ..Tries::default() };
                return State::Absent(Absent { error, tries });
            }
            // What is between may hold back all that the next watch shows, too.
            Err(Error::Silent) if lasted && !has_moved => {
                return self.back_off(Error::Silent, |_| State::default());
            }
            Err(error) if lasted => return self.back_off(error, |watching| watching.next(now)),
            Err(error) => return self.back_off(error, State::Watching),
        }
        self.next(now)
    }

    fn back_off(mut self, error: Error, then: impl FnOnce(Self) -> State) -> State {
        self.failures += 1;
        let (failures, then) = (self.failures, Box::new(then(self)));
        State::BackingOff(Backoff { what: "failed to watch", error, failures, then })
    }

    /// The next watch, or the audit if it is due.
    fn next(self, now: Instant) -> State {
        let is_due = now >= self.next_audit || !self.unlisted.is_empty();
        if is_due { Auditing::begin(self) } else { State::Watching(self) }
    }
}

impl Backoff {
    /// The pause before the next try, without the jitter that keeps many watches apart.
    pub(super) fn pause(&self) -> Duration {
        FIRST_BACKOFF.saturating_mul(1 << self.failures.min(10)).min(LAST_BACKOFF)
    }
}

impl Absent {
    /// After a while.
    pub(super) fn step(self) -> State {
        Listing::again(self.tries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Error {
        Error::FrameSize
    }

    fn page(next: &str) -> PageMetadata {
        PageMetadata { version: "7".to_owned(), next: next.to_owned() }
    }

    fn absent() -> Error {
        Error::Absent(api::Error::Timeout)
    }

    /// What is tried again after a failure, and the failures in a row.
    #[track_caller]
    fn failed(state: State) -> (State, u32) {
        match state {
            State::BackingOff(backoff) => (*backoff.then, backoff.failures),
            other => panic!("{other:?} is no BackingOff"),
        }
    }

    #[track_caller]
    fn listing(state: State) -> Listing {
        match state {
            State::Listing(listing) => listing,
            other => panic!("{other:?} is no Listing"),
        }
    }

    #[track_caller]
    fn watching(state: State) -> Watching {
        match state {
            State::Watching(watching) => watching,
            other => panic!("{other:?} is no Watching"),
        }
    }

    #[track_caller]
    fn listed(listing: Listing) -> Listed {
        match listing.step(Ok(page(""))) {
            State::Listed(listed) => listed,
            other => panic!("{other:?} is no Listed"),
        }
    }

    /// After a watch that was open for long.
    fn ended_well(mut place: Watching, now: Instant) -> State {
        place.opened(0, now - STEADY).unwrap();
        place.step(Ok(()), now)
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_are_counted_until_something_goes_well() {
        let (state, first) = failed(Listing::default().step(Err(failure())));
        let (state, second) = failed(listing(state).step(Err(failure())));
        let (state, third) = failed(listed(listing(state)).step(Err(failure()), Instant::now()));
        assert_eq!([first, second, third], [1, 2, 3], "a list that is not trusted is a failure too");
        let place = watching(listed(listing(state)).step(Ok(()), Instant::now()));
        let (state, first) = failed(place.step(Err(failure()), Instant::now()));
        let (state, second) = failed(watching(state).step(Err(failure()), Instant::now()));
        let place = watching(ended_well(watching(state), Instant::now()));
        let (_, after) = failed(place.step(Err(failure()), Instant::now()));
        assert_eq!([first, second, after], [1, 2, 1], "a watch counts anew after each that ended well");
    }

    #[test]
    fn a_list_that_fails_begins_anew_with_nothing_of_the_old_one() {
        let mut half = listing(Listing::default().step(Ok(page("two"))));
        half.names.insert(("shop".to_owned(), "a".to_owned()));
        assert_eq!(half.next, "two");
        let anew = listing(failed(half.step(Err(failure()))).0);
        assert_eq!((anew.next.as_str(), anew.names.len()), ("", 0));
    }

    #[test]
    fn an_absence_is_remembered_until_the_kind_is_there() {
        let absence = |listing: Listing| match listing.step(Err(absent())) {
            State::Absent(absent) => absent,
            other => panic!("{other:?} is no Absent"),
        };
        let first = absence(Listing::default());
        let second = absence(listing(first.step()));
        let (state, _) = failed(listing(second.step()).step(Err(failure())));
        assert!(listed(listing(state)).was_absent(), "a failure in between does not make it present");
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_waits_for_its_time_and_for_a_watch_that_ended_well() {
        let start = Instant::now();
        let place = watching(listed(Listing::default()).step(Ok(()), start));
        let place = watching(ended_well(place, start + AUDIT - Duration::from_secs(1)));
        let (state, _) = failed(place.step(Err(failure()), start + AUDIT));
        let State::Auditing(audit) = ended_well(watching(state), start + AUDIT) else {
            panic!("the audit is due and the watch ended well")
        };
        let (state, _) = failed(audit.step(Err(failure()), start + AUDIT));
        let State::Auditing(audit) = ended_well(watching(state), start + AUDIT) else {
            panic!("an audit that has failed is still due")
        };
        let place = watching(audit.step(Ok(Finding::Complete(Unlisted::new())), start + AUDIT));
        watching(ended_well(place, start + AUDIT * 2 - Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_a_kind_that_is_gone_waits_before_it_lists_again() {
        let now = Instant::now();
        let place = watching(listed(Listing::default()).step(Ok(()), now));
        let state = place.step(Err(absent()), now);
        assert!(matches!(state, State::Absent(_)), "{state:?}");
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let after = |failures| Backoff { what: "failed", error: failure(), failures, then: Box::default() };
        let pause = |failures| after(failures).pause();
        assert_eq!([1, 2, 3].map(pause), [200, 400, 800].map(Duration::from_millis));
        assert_eq!([10, 1000].map(pause), [LAST_BACKOFF; 2]);
    }
}
