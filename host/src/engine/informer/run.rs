//! Drives a watch through its states, for as long as it is kept.

use std::error::Error as StdError;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::engine::informer::error::Error;
use crate::engine::informer::state::{Absent, Backoff, State};
use crate::engine::informer::unserved;
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
                tokio::time::sleep(self.ambient.jittered(SPREAD, 0.0..1.0)).await;
                State::default()
            }
            State::Absent(absent) => self.wait_for_kind(absent).await,
        }
    }

    async fn back_off(&self, backoff: Backoff) -> State {
        // The first failure is often a server that restarts.
        // The bootstrap reports that the server is another one.
        let is_reported = matches!(backoff.error, Error::IdentityGuard(_));
        let is_rare = matches!(backoff.error, Error::ManyMissing { .. } | Error::Silent);
        if (backoff.failures > 1 && !is_reported) || is_rare {
            let error = &backoff.error as &dyn StdError;
            warn!(kind = %self.resource.kind, error, "{}; trying again", backoff.what);
        }
        // Of a server that is another one, or does not say, others report.
        if let Some(reporter) = self.reporter.as_ref().filter(|_| !is_reported) {
            reporter.failed(Instant::now(), &backoff.error);
        }
        let pause = backoff.error.retry_after().unwrap_or_else(|| self.jittered(backoff.pause()));
        tokio::time::sleep(pause).await;
        *backoff.then
    }

    async fn wait_for_kind(&self, absent: Absent) -> State {
        let why =
            unserved::why(&self.api, self.server, (&self.namespace, &self.resource), &absent.error).await;
        // What the store has is of a list that says nothing any more, and writes must not wait for another one.
        if self.store.set_unserved(&why) {
            let (kind, server) = (self.resource.kind(), self.server);
            warn!(%kind, server, "nothing of this kind is synced: {why}");
            (self.unserved)();
        }
        tokio::time::sleep(self.jittered(ABSENT)).await;
        absent.step()
    }

    /// Reports that a kind is there which the server did not have.
    pub(super) fn report_present(&self) {
        info!(kind = %self.resource.kind(), server = self.server, "the server has the kind now");
    }

    fn jittered(&self, time: Duration) -> Duration {
        self.ambient.jittered(time, 0.75..1.25)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::api::scripted::Answer;
    use crate::engine::informer::testing::{Running, Script};

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
            let log = Self::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
            (log, tracing::subscriber::set_default(subscriber))
        }

        fn count(&self, words: &str) -> usize {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap().matches(words).count()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_the_server_lacks_is_reported_once_and_synced_when_it_is_there() {
        for (code, reason, words) in [
            (404, "NotFound", "does not have configmaps"),
            (403, "Forbidden", "the syncer has no permission to list and watch configmaps"),
        ] {
            let (log, _guard) = Log::begin();
            let mut script = Script::default().may_lack();
            for _ in 0..3 {
                script = script.list_answer(Answer::failure(code, reason));
            }
            let started = Instant::now();
            let running = Running::start(script.list("7", &[("a", "5")]));
            running.until_watches(1).await;
            let took = started.elapsed();
            assert!(took > ABSENT * 3 * 3 / 4 && took < ABSENT * 3 * 5 / 4 + SPREAD, "{took:?}: see ABSENT");
            assert_eq!(log.count(words), 1, "{code}: see Store::set_unserved");
            assert_eq!(log.count("the server has the kind now"), 1, "{code}: see Listed::was_absent");
            assert_eq!(running.record(), ["+a@5", "listed"]);
            assert_eq!(running.confirmations(), 1, "a kind that comes later needs the identity confirmed");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_taken_away_is_listed_again_and_keeps_its_objects() {
        let (log, _guard) = Log::begin();
        let gone = || Answer::failure(404, "NotFound");
        let script = Script::default().may_lack().list("7", &[("a", "5")]).watch_answer(gone());
        let running = Running::start(script.list_answer(gone()).list("9", &[("a", "5")]));
        running.until_watches(2).await;
        assert_eq!(running.record(), ["+a@5", "listed", "listed"], "what is not served is not deleted");
        assert_eq!(log.count("does not have configmaps"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_every_server_has_is_a_failure_where_it_is_absent() {
        let (log, _guard) = Log::begin();
        let mut script = Script::default();
        for _ in 0..2 {
            script = script.list_answer(Answer::failure(404, "NotFound"));
        }
        let running = Running::start(script.list("7", &[]));
        running.until_watches(1).await;
        assert_eq!(log.count("failed to list; trying again"), 1, "the second failure in a row is reported");
        assert_eq!(
            log.count("nothing of this kind is synced"),
            0,
            "only where `may_lack`: see Error::where_kind"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_a_server_asks_for_is_obeyed() {
        for code in [429, 500] {
            let status = json!({"kind": "Status", "code": code, "details": {"retryAfterSeconds": 20}});
            let wait = || Answer::Reply(StatusCode::from_u16(code).unwrap(), status.clone());
            let script = Script::default().list_answer(wait()).list("7", &[]).watch_answer(wait());
            let started = Instant::now();
            let running = Running::start(script);
            running.until_watches(1).await;
            let listed = started.elapsed();
            assert!(
                listed >= Duration::from_secs(20) && listed < Duration::from_secs(21),
                "list: {listed:?}"
            );
            running.until_watches(2).await;
            let watched = started.elapsed();
            assert!(watched >= Duration::from_secs(40) && watched < Duration::from_secs(41), "{watched:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_cannot_be_listed_or_watched_is_reported_until_it_can() {
        let refused = || Answer::failure(403, "Forbidden");
        let mut script = Script::default();
        for _ in 0..8 {
            script = script.list_answer(refused());
        }
        script = script.list("7", &[]).ended_watch(&[]);
        for _ in 0..8 {
            script = script.watch_answer(refused());
        }
        let running = Running::start(script);
        for reached in [1, 9] {
            running.until("a report", |running| running.failures.of_kinds().is_some()).await;
            let reason = running.failures.of_kinds().unwrap();
            assert!(reason.contains("v1/ConfigMap on the virtual API server"), "{reason}");
            assert!(reason.contains("403"), "{reason}");
            running.until_watches(reached).await;
            running.until("no report", |running| running.failures.of_kinds().is_none()).await;
        }
    }
}
