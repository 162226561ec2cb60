//! Stops calling a plugin that keeps failing, and tries it again after a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 10;
/// How long it stays open at first; doubled each time it opens again.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// How long it stays open at most.
const LAST_PAUSE: Duration = Duration::from_mins(5);
/// Calls that a new version is watched for.
const TRIAL: u32 = 50;
/// Failures among them that put the version before it back.
const TRIAL_FAILURES: u32 = 5;

/// What is known of a plugin's calls.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_a_row: u32,
    calls: u32,
    failures: u32,
    pause: Option<Duration>,
    open_until: Option<Instant>,
    /// Failures in a row and the pause before the call of late that worked.
    before: (u32, Option<Duration>),
}

impl Breaker {
    /// Whether a call may be made now.
    pub fn lets_pass(&self) -> bool {
        self.at(Instant::now())
    }

    /// Takes note of a call.
    pub fn called(&self, worked: bool) {
        self.note(worked, Instant::now());
    }

    /// Takes note that the answer of a call that worked was no good: the call did not work after all.
    pub fn refused(&self) {
        self.take_back(Instant::now());
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        !self.lets_pass()
    }

    /// Whether the first calls of this version have failed so often that the one before it is better.
    pub fn has_failed_its_trial(&self) -> bool {
        let state = self.lock();
        state.calls <= TRIAL && state.failures >= TRIAL_FAILURES
    }

    /// Whether there were calls enough to trust this version.
    pub fn has_passed_its_trial(&self) -> bool {
        self.lock().calls > TRIAL
    }

    fn at(&self, now: Instant) -> bool {
        self.lock().open_until.is_none_or(|until| now >= until)
    }

    fn note(&self, worked: bool, now: Instant) {
        let mut state = self.lock();
        state.calls = state.calls.saturating_add(1);
        if worked {
            state.before = (state.in_a_row, state.pause);
            state.in_a_row = 0;
            state.pause = None;
            state.open_until = None;
        } else {
            state.fail(now);
        }
    }

    fn take_back(&self, now: Instant) {
        let mut state = self.lock();
        if state.in_a_row == 0 {
            (state.in_a_row, state.pause) = state.before;
        }
        state.fail(now);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row >= FAILURES {
            let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LAST_PAUSE));
            self.pause = Some(pause);
            self.open_until = Some(now + pause);
            // One more failure after the pause opens it again.
            self.in_a_row = FAILURES - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_whose_answers_are_all_refused_is_left_alone_as_well() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            breaker.note(true, start);
            breaker.take_back(start);
        }
        assert!(!breaker.at(start) && breaker.at(start + FIRST_PAUSE));
        breaker.note(true, start + FIRST_PAUSE);
        breaker.take_back(start + FIRST_PAUSE);
        assert!(!breaker.at(start + FIRST_PAUSE * 2));
    }

    #[test]
    fn a_plugin_that_keeps_failing_is_left_alone_for_longer_and_longer() {
        let breaker = Breaker::default();
        let start = Instant::now();
        (0..FAILURES).for_each(|_| breaker.note(false, start));
        assert!(!breaker.at(start) && breaker.at(start + FIRST_PAUSE));
        breaker.note(false, start + FIRST_PAUSE);
        assert!(!breaker.at(start + FIRST_PAUSE * 2) && breaker.at(start + FIRST_PAUSE * 3));
        breaker.note(true, start + FIRST_PAUSE * 3);
        assert!(breaker.at(start + FIRST_PAUSE * 3));
    }

    #[test]
    fn failures_at_the_start_fail_the_trial_and_later_ones_do_not() {
        let breaker = Breaker::default();
        (0..TRIAL_FAILURES).for_each(|_| breaker.called(false));
        assert!(breaker.has_failed_its_trial());
        let old = Breaker::default();
        (0..TRIAL).for_each(|_| old.called(true));
        (0..TRIAL_FAILURES).for_each(|_| old.called(false));
        assert!(!old.has_failed_its_trial());
    }
}
