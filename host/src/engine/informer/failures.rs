//! Remembers what fails on which server, since when and why: what readiness reports.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weft_core::causes::causes;
use weft_core::object::Kind;

/// What lasts for less is no reason to be unready: a server restarts, a watch is resumed.
const LASTING: Duration = Duration::from_secs(5);

/// What fails at present.
#[derive(Default)]
pub(crate) struct Failures(Mutex<BTreeMap<Subject, Failure>>);

/// What can fail: a server as a whole, or the watch of a kind on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    /// `host` or `virtual`.
    pub(crate) server: &'static str,
    /// None for the server as a whole.
    pub(crate) kind: Option<Kind>,
}

struct Failure {
    since: Instant,
    why: String,
}

/// Reports failures of one subject, until it is dropped.
pub(crate) struct Reporter {
    failures: Arc<Failures>,
    subject: Subject,
}

impl Failures {
    /// A reporter for a subject that does not fail so far.
    pub(crate) fn reporter(self: &Arc<Self>, server: &'static str, kind: Option<Kind>) -> Reporter {
        Reporter { failures: self.clone(), subject: Subject { server, kind } }
    }

    /// The servers that fail as a whole, and why.
    pub(crate) fn of_servers(&self) -> Option<String> {
        self.lasting(|subject| subject.kind.is_none())
    }

    /// The kinds that cannot be listed or watched, and why.
    pub(crate) fn of_kinds(&self) -> Option<String> {
        self.lasting(|subject| subject.kind.is_some())
    }

    fn lasting(&self, is_meant: impl Fn(&Subject) -> bool) -> Option<String> {
        let failing = self.failing();
        let lasting = failing
            .iter()
            .filter(|(subject, failure)| is_meant(subject) && failure.since.elapsed() >= LASTING);
        let reasons: Vec<String> =
            lasting.map(|(subject, Failure { why, .. })| format!("{subject}: {why}")).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<Subject, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { server, kind } = self;
        match kind {
            None => write!(formatter, "the {server} API server does not work"),
            Some(kind) => write!(formatter, "cannot list or watch {kind} on the {server} API server"),
        }
    }
}

impl Reporter {
    /// Records a failure that began at `since`; returns whether it is a new one.
    pub(crate) fn failed(&self, since: Instant, error: &dyn Error) -> bool {
        let mut failing = self.failures.failing();
        let before = failing.get(&self.subject).map(|failure| failure.since);
        let failure = Failure { since: before.unwrap_or(since), why: causes(error) };
        failing.insert(self.subject.clone(), failure);
        before.is_none()
    }

    /// Records that it works; returns whether it did not before.
    pub(crate) fn works(&self) -> bool {
        self.failures.failing().remove(&self.subject).is_some()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.works();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::api;

    #[tokio::test(start_paused = true)]
    async fn what_fails_for_a_while_is_reported_with_its_server_and_kind_until_it_works() {
        let failures = Arc::<Failures>::default();
        let (server, watch) =
            (failures.reporter("host", None), failures.reporter("virtual", Some(Kind::new("v1/Pod"))));
        assert!(server.failed(Instant::now(), &api::Error::Timeout));
        assert!(watch.failed(Instant::now(), &api::Error::Timeout));
        assert_eq!((failures.of_servers(), failures.of_kinds()), (None, None), "it may be a restart");
        tokio::time::sleep(LASTING).await;
        assert!(!server.failed(Instant::now(), &api::Error::TooLarge), "it has failed before");
        let of_servers = failures.of_servers().unwrap();
        assert!(of_servers.starts_with("the host API server does not work: "), "{of_servers}");
        assert!(of_servers.contains("larger than"), "the reason is the latest: {of_servers}");
        let of_kinds = failures.of_kinds().unwrap();
        assert!(
            of_kinds.starts_with("cannot list or watch v1/Pod on the virtual API server: "),
            "{of_kinds}"
        );
        assert!(server.works() && !server.works());
        drop(watch);
        assert_eq!((failures.of_servers(), failures.of_kinds()), (None, None));
    }
}
