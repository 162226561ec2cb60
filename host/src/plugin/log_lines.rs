//! How many lines of a plugin go to the log, and how often the log says that some are missing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::Bucket;

/// A plugin that writes too much does so for every object: one line in this time says it.
const NOTES: Duration = Duration::from_secs(10);

/// A bound on what the calls of one plugin write to the log.
#[derive(Clone)]
pub(super) struct Lines {
    per_second: u32,
    buckets: Arc<Mutex<Buckets>>,
}

struct Buckets {
    lines: Bucket,
    notes: Bucket,
}

impl Lines {
    /// So many lines at once, and so many more a second.
    pub(super) fn per_second(lines: u32) -> Self {
        let buckets = Buckets {
            lines: Bucket::new(lines, Duration::from_secs(1) / lines.max(1)),
            notes: Bucket::new(1, NOTES),
        };
        Self { per_second: lines, buckets: Arc::new(Mutex::new(buckets)) }
    }

    /// Takes the room of one line; false where there is none.
    pub(super) fn has_room(&self) -> bool {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).lines.take(Instant::now())
    }

    /// What the log says of lines that are left out; none where it was said a moment ago.
    pub(super) fn note(&self) -> Option<String> {
        let is_news = self.buckets.lock().unwrap_or_else(PoisonError::into_inner).notes.take(Instant::now());
        is_news.then(|| format!("lines are left out: the plugin may log {} a second", self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_noted_once_and_later_once_more() {
        let lines = Lines::per_second(2);
        let shared = lines.clone();
        assert!(lines.has_room() && shared.has_room() && !lines.has_room() && !shared.has_room());
        assert_eq!(lines.note().unwrap(), "lines are left out: the plugin may log 2 a second");
        assert_eq!(shared.note(), None);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(lines.has_room() && !lines.has_room());
        assert_eq!(lines.note(), None);
        tokio::time::advance(NOTES).await;
        assert!(lines.note().is_some());
    }
}
