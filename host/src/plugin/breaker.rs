//! Pauses a plugin that keeps failing, and tries it again after a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use weft_core::extension::Failure;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 10;
/// How long it stays open at first; doubled each time it opens again.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// How long it stays open at most.
const LAST_PAUSE: Duration = Duration::from_mins(5);
/// Calls that a new version is on trial for.
const TRIAL: u32 = 50;
/// Failures among them that roll it back.
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
    /// Failures in a row and the pause before the last call that worked.
    before: (u32, Option<Duration>),
    first_failure: Option<String>,
    last_failure: Option<String>,
}

/// Why a plugin is left alone, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// How many calls failed in a row.
    pub failures: u32,
    /// Why the last one did.
    pub last_failure: String,
    /// Until the next try; none where the next call is one.
    pub left: Duration,
}

impl Breaker {
    /// Whether a call may be made now.
    pub fn lets_pass(&self) -> bool {
        self.at(Instant::now())
    }

    /// Counts a call, and why it failed if it did.
    pub fn called(&self, failure: Option<&Failure>) {
        self.note(failure.map(in_short).as_deref(), Instant::now());
    }

    /// Counts a call that worked as a failure after all: its answer was refused.
    pub fn refused(&self, failure: &Failure) {
        self.revoke(&in_short(failure), Instant::now());
    }

    /// How many of the first calls failed, and what the first failure was: `2 of 3 calls: PluginTrapped`.
    pub fn failures(&self) -> String {
        let state = self.lock();
        let first = state.first_failure.as_deref().unwrap_or("none");
        format!("{} of {} calls, first with {first}", state.failures, state.calls)
    }

    /// Why it is open, until a call has worked again.
    pub fn pause(&self) -> Option<Pause> {
        self.pause_at(Instant::now())
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

    fn pause_at(&self, now: Instant) -> Option<Pause> {
        let state = self.lock();
        let left = state.open_until?.saturating_duration_since(now);
        let last_failure = state.last_failure.clone().unwrap_or_default();
        Some(Pause { failures: state.in_a_row, last_failure, left })
    }

    fn at(&self, now: Instant) -> bool {
        self.lock().open_until.is_none_or(|until| now >= until)
    }

    fn note(&self, failure: Option<&str>, now: Instant) {
        let mut state = self.lock();
        state.calls = state.calls.saturating_add(1);
        if let Some(failure) = failure {
            state.fail(failure, now);
        } else {
            state.before = (state.in_a_row, state.pause);
            state.in_a_row = 0;
            state.pause = None;
            state.open_until = None;
        }
    }

    fn revoke(&self, failure: &str, now: Instant) {
        let mut state = self.lock();
        if state.in_a_row == 0 {
            (state.in_a_row, state.pause) = state.before;
        }
        state.fail(failure, now);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, failure: &str, now: Instant) {
        self.first_failure.get_or_insert_with(|| failure.to_owned());
        self.last_failure = Some(failure.to_owned());
        self.failures = self.failures.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        // One more failure after the pause opens it again.
        if self.in_a_row >= FAILURES {
            let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LAST_PAUSE));
            self.pause = Some(pause);
            self.open_until = Some(now + pause);
        }
    }
}

/// The reason and the field. A message that a plugin writes may hold what it read in a Secret.
fn in_short(failure: &Failure) -> String {
    match &failure.field {
        Some(field) => format!("{} at {field}", failure.reason),
        None => failure.reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Option<&str> = Some("PluginTrapped");

    #[test]
    fn a_plugin_whose_answers_are_all_refused_is_left_alone_as_well() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            breaker.note(None, start);
            breaker.revoke("PluginRefused", start);
        }
        assert!(!breaker.at(start) && breaker.at(start + FIRST_PAUSE));
        breaker.note(None, start + FIRST_PAUSE);
        breaker.revoke("PluginRefused", start + FIRST_PAUSE);
        assert!(!breaker.at(start + FIRST_PAUSE * 2));
    }

    #[test]
    fn a_plugin_that_keeps_failing_is_left_alone_for_longer_and_longer() {
        let breaker = Breaker::default();
        let start = Instant::now();
        (0..FAILURES).for_each(|_| breaker.note(FAILED, start));
        assert!(!breaker.at(start) && breaker.at(start + FIRST_PAUSE));
        breaker.note(FAILED, start + FIRST_PAUSE);
        assert!(!breaker.at(start + FIRST_PAUSE * 2) && breaker.at(start + FIRST_PAUSE * 3));
        breaker.note(None, start + FIRST_PAUSE * 3);
        assert!(breaker.at(start + FIRST_PAUSE * 3));
    }

    #[test]
    fn a_pause_says_how_often_and_why_calls_failed_and_when_the_next_is_made() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        (1..FAILURES).for_each(|_| breaker.note(Some("PluginTimeout"), start));
        assert_eq!(breaker.pause_at(start), None);
        breaker.note(FAILED, start);
        let pause = |failures, left| Some(Pause { failures, last_failure: "PluginTrapped".to_owned(), left });
        assert_eq!(breaker.pause_at(start), pause(10, FIRST_PAUSE));
        assert_eq!(
            breaker.pause_at(start + FIRST_PAUSE),
            pause(10, Duration::ZERO),
            "the next call is a try"
        );
        breaker.note(FAILED, start + FIRST_PAUSE);
        assert_eq!(breaker.pause_at(start + FIRST_PAUSE), pause(11, FIRST_PAUSE * 2));
        breaker.note(None, start + FIRST_PAUSE * 3);
        assert_eq!(breaker.pause_at(start + FIRST_PAUSE * 3), None);
    }

    #[test]
    fn failures_at_the_start_fail_the_trial_and_later_ones_do_not() {
        let breaker = Breaker::default();
        let failure = Failure::new("PluginRefused", "a secret").about("spec.hostNetwork");
        breaker.called(Some(&failure));
        (1..TRIAL_FAILURES).for_each(|_| breaker.called(Some(&Failure::new("PluginTimeout", ""))));
        assert!(breaker.has_failed_its_trial());
        assert_eq!(breaker.failures(), "5 of 5 calls, first with PluginRefused at spec.hostNetwork");
        let old = Breaker::default();
        (0..TRIAL).for_each(|_| old.called(None));
        (0..TRIAL_FAILURES).for_each(|_| old.called(Some(&failure)));
        assert!(!old.has_failed_its_trial());
    }
}
