//! Reads one page of a list or an audit, at half its size where a whole one is too large or comes too late.

use std::error::Error as StdError;

use bytes::Bytes;
use http::Request;
use tokio::time::Instant;
use tracing::debug;

use crate::api;
use crate::engine::informer::error::Error;
use crate::engine::informer::request::PageLimit;
use crate::engine::informer::watch::Watch;

impl<S: 'static> Watch<S> {
    /// Reads the page that the token `next` stands for. One that is too large, or takes too long, is asked for again at half
    /// its size: the API allows another limit for the same token.
    pub(super) async fn read_page(
        &self,
        limit: &PageLimit,
        next: &str,
        request: fn(&str) -> Request<Vec<u8>>,
    ) -> Result<Bytes, Error> {
        loop {
            let size = limit.get();
            let error = match self.api.send(request(&self.selection().list_url(next, size))).await {
                Err(error @ (api::Error::TooLarge | api::Error::Timeout)) => error,
                other => return Ok(other?),
            };
            let is_late = matches!(error, api::Error::Timeout);
            if let (true, Some(reporter)) = (is_late, &self.reporter) {
                reporter.failed(Instant::now(), &error);
            }
            let has_smaller = if is_late { limit.halve_for_time() } else { limit.halve() };
            if !has_smaller {
                return Err(self.failure_of_one(error));
            }
            let error = &error as &dyn StdError;
            debug!(kind = %self.resource.kind(), server = self.server, size, error, "asking for half a page");
        }
    }

    fn failure_of_one(&self, error: api::Error) -> Error {
        match error {
            api::Error::TooLarge => Error::ObjectTooLarge { kind: self.resource.kind() },
            other => Error::Api(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::api::scripted::Answer;
    use crate::engine::informer::testing::{Running, Script};

    #[tokio::test(start_paused = true)]
    async fn a_page_that_is_too_large_or_late_is_asked_for_again_at_half_its_size() {
        for fails in [Script::too_large, |script: Script| script.list_answer(Answer::Silence)] {
            let script = fails(Script::default().page("7", "two", &[("a", "1")]));
            let script = fails(script).page("7", "three", &[("b", "2")]).page("7", "", &[("c", "3")]);
            let expired = Answer::failure(410, "Expired");
            let running = Running::start(script.watch_answer(expired).list("9", &[("a", "1"), ("b", "2")]));
            running.until_watches(2).await;
            assert_eq!(running.pages(), ["", "two", "two", "two", "three", ""], "no page is read twice");
            assert_eq!(
                running.limits(),
                [500, 500, 250, 125, 125, 250],
                "what worked is kept, and doubled after a whole list: see PageLimit"
            );
            assert_eq!(running.record(), ["+a@1", "+b@2", "+c@3", "listed", "-c", "listed"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_of_one_object_that_is_too_large_is_a_failure_that_names_the_kind() {
        let mut script = Script::default();
        for _ in 0..16 {
            script = script.too_large();
        }
        let running = Running::start(script.list("7", &[("a", "1")]));
        running.until("a report", |running| running.failures.of_kinds().is_some()).await;
        let why = running.failures.of_kinds().unwrap();
        assert!(
            why.contains("an object of v1/ConfigMap alone is larger than") && why.contains("remove it"),
            "{why}"
        );
        running.until_watches(1).await;
        let limits = running.limits();
        assert_eq!(limits[..9], [500, 250, 125, 62, 31, 15, 7, 3, 1]);
        assert_eq!(limits[9..], [1; 8], "no page is asked for that is known to be too large");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_is_late_is_reported_before_the_last_try() {
        let mut script = Script::default();
        for _ in 0..3 {
            script = script.list_answer(Answer::Silence);
        }
        let running = Running::start(script.list("7", &[]));
        running.until("a report", |running| running.failures.of_kinds().is_some()).await;
        assert!(running.limits().len() < 4, "reported only when no page is smaller: see read_page");
        running.until_watches(1).await;
    }
}
