//! Asks an API server every few seconds whether it answers: the server whose silence nobody else would notice soon.
//!
//! A watch is quiet for a minute where nothing happens, so a dead connection looks like a quiet one. Only a request shows
//! the difference, and [`Api::check`] replaces the connections then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::api::{self, Api};
use crate::engine::informer::failures::{Failures, Reporter};

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(5);
/// The same while the server fails, so that its return is noticed soon.
const RETRY: Duration = Duration::from_secs(1);

/// The questions to one API server.
pub(crate) struct Heartbeat<S> {
    api: Api<S>,
    server: &'static str,
    path: String,
    reporter: Reporter,
}

impl<S> Heartbeat<S> {
    /// A GET of `path`, something small that the syncer needs anyway, so that a refusal says something.
    pub(crate) fn new(server: &'static str, api: &Api<S>, path: String, failures: &Arc<Failures>) -> Self {
        Self { api: api.clone(), server, path, reporter: failures.reporter(server, None) }
    }

    /// Asks until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            let pause = if self.ask().await { PERIOD } else { RETRY };
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns whether the server works.
    async fn ask(&self) -> bool {
        let (server, asked) = (self.server, Instant::now());
        let failure = self.api.check(&self.path).await.err().filter(|error| !is_answer(error));
        match failure {
            None => {
                if self.reporter.works() {
                    info!(server, "the API server works again");
                }
                true
            }
            Some(error) => {
                if self.reporter.failed(asked, &error) {
                    warn!(server, error = &error as &dyn std::error::Error, "the API server does not work");
                }
                false
            }
        }
    }
}

/// Whether a server that answers this works: what is not there is reported by those who miss it, and one that has too
/// much to do says when to come again.
fn is_answer(error: &api::Error) -> bool {
    matches!(error.code(), Some(404 | 429))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use serde_json::json;
    use weft_core::object::Host;

    use super::*;
    use crate::api::scripted::{Answer, scripted};
    use crate::engine::informer::failures::Failures;

    /// Not an HTTP status: the server is silent.
    const SILENT: u16 = 0;
    /// The promise of readiness: a server that does not work is reported by then.
    const REPORTED: Duration = Duration::from_secs(15);

    /// A server that answers with the status in the number, and what is reported of it.
    fn server() -> (Arc<AtomicU16>, Arc<Failures>) {
        let status = Arc::new(AtomicU16::new(200));
        let answered = status.clone();
        let (api, _) = scripted::<Host>(move |_| match answered.load(Ordering::Relaxed) {
            SILENT => Answer::Silence,
            200 => Answer::ok(json!({})),
            code => Answer::failure(code, "Refused"),
        });
        let failures = Arc::<Failures>::default();
        let reporter = failures.reporter("host", None);
        tokio::spawn(Heartbeat { api, server: "host", path: "/question".to_owned(), reporter }.run());
        (status, failures)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_silent_or_refuses_is_reported_in_time_and_so_is_its_return() {
        let (status, failures) = server();
        for code in [SILENT, 401, 403, 500, 503] {
            // In the worst case a question has just been answered.
            tokio::time::sleep(PERIOD / 10).await;
            assert_eq!(failures.of_servers(), None, "{code}");
            status.store(code, Ordering::Relaxed);
            tokio::time::sleep(REPORTED).await;
            let reason = failures.of_servers().unwrap_or_default();
            assert!(reason.contains("the host API server"), "{code}: {reason:?}");
            status.store(200, Ordering::Relaxed);
            tokio::time::sleep(REPORTED / 2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_lacks_something_or_has_much_to_do_works() {
        let (status, failures) = server();
        for code in [404, 429] {
            status.store(code, Ordering::Relaxed);
            tokio::time::sleep(REPORTED * 2).await;
            assert_eq!(failures.of_servers(), None, "{code}");
        }
    }
}
