//! When tokens are renewed: after a part of their life, by the monotonic clock and by the wall clock, whichever is first.
//!
//! The wall clock may be wrong, and may be set; the monotonic one stops while a machine is suspended, and nothing is
//! known of it after a restart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::engine::ambient::WallClock;
use crate::engine::companions::tokens::clock::since;

/// No pod's tokens are renewed more often, whatever the clocks and the server say.
const SHORTEST: Duration = Duration::from_mins(1);
/// What somebody else takes away again and again is repaired twelve times a minute.
const REPAIR_PAUSE: Duration = Duration::from_secs(5);
/// Fewer issues than this are not worth clearing away.
const FEW: usize = 64;

/// When the tokens of each pod were issued by this process, or first seen.
pub(super) struct Renewals {
    pub(super) wall: WallClock,
    issues: Mutex<Issues>,
}

#[derive(Default)]
struct Issues {
    /// By the UID of the virtual pod.
    by_pod: HashMap<String, Issue>,
    /// At so many the dead ones are cleared away.
    clear_at: usize,
}

#[derive(Clone, Copy)]
struct Issue {
    at: Instant,
    wall: Timestamp,
    renew_after: Duration,
}

impl Renewals {
    pub(super) fn new(wall: WallClock) -> Self {
        Self { wall, issues: Mutex::default() }
    }

    /// How long the tokens of a pod serve, of which the Secret says `renew_at`; none when they are due. Tokens of the
    /// present process go by both clocks. Of others nothing is known but the wall clock: if it says that there is more
    /// time than `life`, it was set, and they are renewed.
    pub(super) fn left(&self, pod: &str, renew_at: Option<Timestamp>, life: Duration) -> Option<Duration> {
        if let Some(issue) = self.issue(pod) {
            let by_wall = since(issue.wall, (self.wall)());
            let elapsed = issue.at.elapsed().max(by_wall);
            return issue.renew_after.checked_sub(elapsed).filter(|left| !left.is_zero());
        }
        let left = since((self.wall)(), renew_at?);
        if left.is_zero() || left > life {
            return None;
        }
        self.record(pod, left);
        Some(left)
    }

    /// How long to wait before the Secret of a pod is repaired; none when it can be at once.
    pub(super) fn repair_pause(&self, pod: &str) -> Option<Duration> {
        let elapsed = self.issue(pod)?.at.elapsed();
        REPAIR_PAUSE.checked_sub(elapsed).filter(|pause| !pause.is_zero())
    }

    /// Records that the tokens of a pod are in its Secret, and how long they serve.
    pub(super) fn record(&self, pod: &str, renew_after: Duration) {
        let mut issues = self.issues.lock().unwrap_or_else(PoisonError::into_inner);
        let issue = Issue { at: Instant::now(), wall: (self.wall)(), renew_after };
        issues.by_pod.insert(pod.to_owned(), issue);
        if issues.by_pod.len() >= issues.clear_at.max(FEW) {
            // Those of pods that are gone were not renewed when they were due.
            issues.by_pod.retain(|_, issue| issue.at.elapsed() < issue.renew_after + SHORTEST);
            issues.clear_at = issues.by_pod.len() * 2;
        }
    }

    fn issue(&self, pod: &str) -> Option<Issue> {
        self.issues.lock().unwrap_or_else(PoisonError::into_inner).by_pod.get(pod).copied()
    }
}

/// When tokens are renewed of which the first ends after `life`: after 80 % of it, as kubelets do.
pub(super) fn renew_after(life: Duration) -> Duration {
    (life / 5 * 4).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    const HOUR: Duration = Duration::from_hours(1);
    const RENEWED: Duration = Duration::from_mins(48);

    /// Renewals whose wall clock is set by the test, in seconds.
    fn renewals(start: i64) -> (Renewals, Arc<AtomicI64>) {
        let wall = Arc::new(AtomicI64::new(start));
        let read = wall.clone();
        let clock = move || Timestamp::from_second(read.load(Ordering::Relaxed)).unwrap();
        (Renewals::new(Arc::new(clock)), wall)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_renewed_at_four_fifths_of_their_life_whichever_clock_says_so_first() {
        let (renewals, wall) = renewals(10_000);
        assert_eq!(renew_after(HOUR), RENEWED);
        renewals.record("a", RENEWED);
        assert_eq!(renewals.left("a", None, HOUR), Some(RENEWED));
        wall.store(10_000 - 7200, Ordering::Relaxed);
        tokio::time::advance(Duration::from_mins(40)).await;
        assert_eq!(renewals.left("a", None, HOUR), Some(Duration::from_mins(8)), "the clock was set back");
        wall.store(10_000 + 7200, Ordering::Relaxed);
        assert_eq!(renewals.left("a", None, HOUR), None, "it was set ahead, or the machine was suspended");
        renewals.record("a", RENEWED);
        assert_eq!(renewals.left("a", None, HOUR), Some(RENEWED), "and that is all it costs");
        tokio::time::advance(RENEWED).await;
        assert_eq!(renewals.left("a", None, HOUR), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_at_once_is_renewed_once_a_minute() {
        let (renewals, _) = renewals(0);
        for life in [Duration::ZERO, Duration::from_secs(1)] {
            assert_eq!(renew_after(life), SHORTEST);
            renewals.record("a", SHORTEST);
            tokio::time::advance(Duration::from_secs(59)).await;
            assert_eq!(renewals.left("a", Some(at(0)), life), Some(Duration::from_secs(1)));
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(renewals.left("a", Some(at(0)), life), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_restart_the_secret_says_when_unless_the_clock_was_set() {
        let (renewals, wall) = renewals(10_000);
        assert_eq!(renewals.left("none", None, HOUR), None);
        assert_eq!(renewals.left("due", Some(at(10_000)), HOUR), None);
        assert_eq!(renewals.left("too long", Some(at(13_601)), HOUR), None, "the clock was set back");
        assert_eq!(renewals.left("fresh", Some(at(10_600)), HOUR), Some(Duration::from_mins(10)));
        wall.store(9000, Ordering::Relaxed);
        tokio::time::advance(Duration::from_mins(4)).await;
        assert_eq!(
            renewals.left("fresh", Some(at(10_600)), HOUR),
            Some(Duration::from_mins(6)),
            "once seen, by both"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_repair_waits_a_little_after_the_last_issue() {
        let (renewals, _) = renewals(0);
        assert_eq!(renewals.repair_pause("a"), None);
        renewals.record("a", RENEWED);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(renewals.repair_pause("a"), Some(Duration::from_secs(3)));
        tokio::time::advance(REPAIR_PAUSE).await;
        assert_eq!(renewals.repair_pause("a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn pods_that_are_gone_are_forgotten() {
        let (renewals, _) = renewals(0);
        for number in 0..FEW * 4 {
            renewals.record(&number.to_string(), RENEWED);
            tokio::time::advance(HOUR).await;
        }
        let left = renewals.issues.lock().unwrap().by_pod.len();
        assert!(left <= FEW, "{left} are remembered");
    }
}
