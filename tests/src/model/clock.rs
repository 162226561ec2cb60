//! The time of the model: tokio's clock, counted from a fixed day.

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// When every model starts: 2026-01-01T00:00:00Z.
pub(crate) const EPOCH: i64 = 1_767_225_600;

/// A clock that tests can pause.
pub(super) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time in so many seconds, as objects have it.
    pub(super) fn timestamp(&self, seconds: i64) -> String {
        Timestamp::from_second(self.now().saturating_add(seconds)).unwrap_or_default().to_string()
    }

    /// A time so many seconds earlier, but not in the past; and whether it would be there.
    pub(super) fn earlier(&self, time: &str, seconds: i64) -> (String, bool) {
        let time = time.parse::<Timestamp>().unwrap_or_default().as_second();
        let left = time.saturating_sub(seconds).saturating_sub(self.now());
        (self.timestamp(left.max(0)), left < 0)
    }

    /// The time in seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        EPOCH.saturating_add(i64::try_from(self.0.elapsed().as_secs()).unwrap_or_default())
    }
}
