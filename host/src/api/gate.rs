//! Holds requests back while a server is away or has asked for rest.
//!
//! Keys back off one by one; but a thousand keys that each try once are a storm all the same. What one
//! request learns about the server holds for all.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// First pause after a request found no server; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause: a server that is back is noticed within it.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Closed while nothing should be sent.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed_until: Option<Instant>,
    failures: u32,
}

impl Gate {
    /// Waits until requests may be sent.
    pub(super) async fn pass(&self) {
        while let Some(time) = self.closed_until() {
            tokio::time::sleep_until(time).await;
        }
    }

    /// The server answered, whatever it said.
    pub(super) fn answered(&self, rest: Option<Duration>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = 0;
        if let Some(rest) = rest {
            state.close_for(rest);
        }
    }

    /// The server could not be reached.
    pub(super) fn unreachable(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Requests that were under way together count once.
        if state.closed_until.is_some_and(|time| time > Instant::now()) {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(10)).min(LAST_PAUSE);
        state.failures += 1;
        state.close_for(pause);
    }

    fn closed_until(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed_until.filter(|time| *time > Instant::now())
    }
}

impl State {
    fn close_for(&mut self, pause: Duration) {
        let time = Instant::now() + pause;
        self.closed_until = Some(self.closed_until.map_or(time, |old| old.max(time)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_before_the_time_that_the_server_gave() {
        let gate = Gate::default();
        gate.answered(Some(Duration::from_secs(5)));
        let started = Instant::now();
        gate.pass().await;
        assert!(started.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_that_fail_together_are_one_failure() {
        let gate = Gate::default();
        (0..100).for_each(|_| gate.unreachable());
        let started = Instant::now();
        gate.pass().await;
        assert!(started.elapsed() <= FIRST_PAUSE * 2, "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stays_away_is_asked_ever_less_until_it_answers() {
        let gate = Gate::default();
        for _ in 0..20 {
            gate.unreachable();
            gate.pass().await;
        }
        gate.unreachable();
        let started = Instant::now();
        gate.pass().await;
        assert!(started.elapsed() >= LAST_PAUSE);
        gate.answered(None);
        gate.pass().await;
        gate.unreachable();
        let started = Instant::now();
        gate.pass().await;
        assert!(started.elapsed() <= FIRST_PAUSE * 2);
    }
}
