//! Which pairs have failed for long without a refusal: failures that a server should overcome by itself, and does not.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weft_core::object::Key;

/// What fails for less is retried in silence.
const LONG: Duration = Duration::from_mins(1);

/// Knows since when each pair fails.
#[derive(Default)]
pub(crate) struct Lasting {
    failing: Mutex<HashMap<Key, Instant>>,
}

impl Lasting {
    /// The pair has failed; says whether it does so for long.
    pub(crate) fn failed(&self, key: &Key) -> bool {
        self.lock().entry(key.clone()).or_insert_with(Instant::now).elapsed() >= LONG
    }

    /// The pair does not fail any more.
    pub(crate) fn ended(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::api::scripted::Answer;
    use crate::engine::testing::{Bench, echo, key, service};

    #[tokio::test(start_paused = true)]
    async fn a_failure_lasts_when_no_try_between_has_succeeded() {
        let (lasting, key) = (Lasting::default(), key("v1/Pod", "shop", "web"));
        assert!(!lasting.failed(&key));
        tokio::time::advance(LONG).await;
        assert!(lasting.failed(&key));
        lasting.ended(&key);
        assert!(!lasting.failed(&key));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_lasts_is_published() {
        let bench = Bench::new(|_| Answer::failure(500, "InternalError"), echo);
        bench.put_virtual("v1/Service", service("web", "5"));
        let (syncer, key) = (bench.syncer(Vec::new()), key("v1/Service", "shop", "web"));
        syncer.reconcile(&key).await;
        assert_eq!(bench.reasons().await, Vec::<String>::new());
        tokio::time::advance(Duration::from_mins(1)).await;
        syncer.reconcile(&key).await;
        assert_eq!(bench.reasons().await, ["Warning HostFailing"]);
    }
}
