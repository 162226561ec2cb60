//! Which keys are ready, in flight, or wait for their time after a failure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use weft_core::object::{Key, Kind};

use crate::bucket::Bucket;
use crate::engine::ambient::Ambient;
use crate::engine::queue::lanes::{Lanes, Limits};
use crate::engine::queue::outcome::Outcome;

/// First pause after a failure; doubled with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Longest pause: within it a key profits from what heals elsewhere.
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// A change of the object may be the cure, so it shortens the pause, but to no less than this.
const CURE_BACKOFF: Duration = Duration::from_secs(1);

/// So many refused keys are tried again at once, and after that one in this time: nothing but the cure of the refusal makes another
/// try better than the last, and each costs a request.
const REFUSED: (u32, Duration) = (20, Duration::from_millis(125));

/// What the queue holds.
pub(super) struct State {
    lanes: Lanes,
    /// Refused keys whose pause is over, in turn.
    refused: Lanes,
    /// How often one of them may be tried.
    pace: Bucket,
    /// Keys in flight; true when one was added meanwhile.
    in_flight: HashMap<Key, bool>,
    /// Keys that wait for their time. The number keeps equal times apart.
    later: BTreeMap<(Instant, u64), Key>,
    /// The place of each key in `later`.
    due: HashMap<Key, (Instant, u64)>,
    serial: u64,
    failures: HashMap<Key, Failure>,
    closed: bool,
    ambient: Ambient,
}

struct Failure {
    /// How often in a row.
    count: u32,
    /// Not even a change of the object brings the key out before this time.
    not_before: Instant,
    /// Whether the last failure was a refusal.
    is_refusal: bool,
}

impl State {
    pub(super) fn new(ambient: Ambient) -> Self {
        let (burst, refill) = REFUSED;
        Self {
            lanes: Lanes::default(),
            refused: Lanes::default(),
            pace: Bucket::new(burst, refill),
            in_flight: HashMap::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            serial: 0,
            failures: HashMap::new(),
            closed: false,
            ambient,
        }
    }

    /// Queues a key.
    pub(super) fn add(&mut self, key: Key) {
        if let Some(again) = self.in_flight.get_mut(&key) {
            *again = true;
            return;
        }
        if let Some(failure) = self.failures.get_mut(&key) {
            // The change may be the cure: it is tried whatever is refused elsewhere.
            failure.is_refusal = false;
            let time = failure.not_before;
            return self.add_at(key, time);
        }
        if let Some(place) = self.due.remove(&key) {
            self.later.remove(&place);
        }
        self.lanes.push(key);
    }

    fn add_at(&mut self, key: Key, time: Instant) {
        if self.lanes.contains(&key) || self.in_flight.contains_key(&key) {
            return;
        }
        if let Some(place) = self.due.get(&key) {
            if place.0 <= time {
                return;
            }
            self.later.remove(place);
        }
        self.serial += 1;
        let place = (time, self.serial);
        self.due.insert(key.clone(), place);
        self.later.insert(place, key);
    }

    /// Ends the flight of a key.
    pub(super) fn done(&mut self, key: &Key, outcome: Outcome) {
        let added_meanwhile = self.in_flight.remove(key).unwrap_or_default();
        self.lanes.release(key);
        match outcome {
            Outcome::Failed(_) | Outcome::Refused => {
                let delay = self.fail(key, outcome);
                // What was added meanwhile waits too: else an object that changes all the time would
                // be tried without any pause.
                self.add_at(key.clone(), Instant::now() + delay);
            }
            Outcome::Done | Outcome::Again(_) => {
                self.failures.remove(key);
                if added_meanwhile {
                    self.add(key.clone());
                } else if let Outcome::Again(delay) = outcome {
                    self.add_at(key.clone(), Instant::now() + delay);
                }
            }
        }
    }

    /// Sets how many keys may be in flight at once.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.lanes.limit(limits, self.in_flight.keys());
    }

    /// Drops every key of a kind that waits.
    pub(super) fn forget(&mut self, kind: &Kind) {
        self.lanes.forget(kind);
        self.refused.forget(kind);
        self.due.retain(|key, _| key.kind != *kind);
        self.later.retain(|_, key| key.kind != *kind);
        self.failures.retain(|key, _| key.kind != *kind);
    }

    /// Whether nothing is ready or in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.is_empty() && self.in_flight.is_empty()
    }

    /// Whether [`Self::take`] may have a key to return.
    pub(super) fn has_turn(&self) -> bool {
        self.lanes.has_turn()
    }

    /// Lets no key out any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Counts a failure, unless it comes with a time to wait: that says nothing about the key. Returns the pause before the
    /// next try.
    fn fail(&mut self, key: &Key, outcome: Outcome) -> Duration {
        let now = Instant::now();
        let asked = if let Outcome::Failed(asked) = outcome { asked } else { None };
        let first = Failure { count: 0, not_before: now, is_refusal: false };
        let failure = self.failures.entry(key.clone()).or_insert(first);
        failure.is_refusal = outcome == Outcome::Refused;
        failure.count += u32::from(asked.is_none());
        let delay = asked.unwrap_or_else(|| backoff(&self.ambient, failure.count));
        failure.not_before = now + asked.unwrap_or_else(|| delay.min(CURE_BACKOFF));
        delay
    }

    /// Makes the keys ready whose time has come.
    pub(super) fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            if self.failures.get(&key).is_some_and(|failure| failure.is_refusal) {
                self.refused.push(key);
            } else {
                self.lanes.push(key);
            }
        }
        self.promote_refused(now);
    }

    /// Makes refused keys ready, as many as may be tried now.
    fn promote_refused(&mut self, now: Instant) {
        while self.refused.has_turn() && self.pace.has_any(now) {
            let Some(key) = self.refused.take() else { return };
            self.refused.release(&key);
            // What came out otherwise meanwhile, for its object has changed, has been tried.
            let is_waiting = self.failures.contains_key(&key) && !self.due.contains_key(&key);
            if is_waiting && !self.in_flight.contains_key(&key) && !self.lanes.contains(&key) {
                self.pace.take(now);
                self.lanes.push(key);
            }
        }
    }

    /// When a key may become ready.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let later = self.later.keys().next().map(|(time, _)| *time);
        let refused = self.refused.has_turn().then(|| self.pace.next());
        later.into_iter().chain(refused).min()
    }

    /// The next key that is ready; it is in flight from now on.
    pub(super) fn take(&mut self) -> Option<Key> {
        let key = self.lanes.take()?;
        self.in_flight.insert(key.clone(), false);
        Some(key)
    }
}

/// Doubles from [`FIRST_BACKOFF`] to [`LAST_BACKOFF`], with jitter so that many keys that failed together
/// do not come back together.
fn backoff(ambient: &Ambient, failures: u32) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_BACKOFF);
    ambient.jittered(doubled, 0.75..1.25)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    use weft_core::object::VirtualName;

    use crate::engine::queue::Queue;

    fn key(namespace: &str, name: &str) -> Key {
        Key { kind: Kind::new("v1/Pod"), name: VirtualName::new(namespace, name) }
    }

    async fn pauses(queue: &Queue, changes: bool) -> Vec<Duration> {
        queue.add(key("a", "1"));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let started = Instant::now();
            queue.next().await;
            pauses.push(started.elapsed());
            queue.done(&key("a", "1"), Outcome::Failed(None));
            if changes {
                queue.add(key("a", "1"));
            }
        }
        pauses
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_key_waits_longer_each_time() {
        let pauses = pauses(&Queue::new(Ambient::default()), false).await;
        assert!(
            pauses[1] >= Duration::from_millis(37) && pauses[11] >= Duration::from_secs(22),
            "{pauses:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_shortens_the_pause_of_a_failed_key_but_does_not_end_it() {
        let pauses = pauses(&Queue::new(Ambient::default()), true).await;
        assert!(pauses[11] >= CURE_BACKOFF && pauses[11] < CURE_BACKOFF * 2, "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_a_server_asks_for_is_obeyed() {
        let queue = Queue::new(Ambient::default());
        queue.add(key("a", "1"));
        queue.next().await;
        queue.done(&key("a", "1"), Outcome::Failed(Some(Duration::from_secs(5))));
        let started = Instant::now();
        queue.next().await;
        assert!(started.elapsed() >= Duration::from_secs(5));
    }

    /// Lets `count` keys of a namespace be refused again and again for `time`; returns how often they came out.
    async fn refusals(queue: &Queue, count: usize, time: Duration) -> usize {
        (0..count).for_each(|number| queue.add(key("refused", &number.to_string())));
        let (until, mut tries) = (Instant::now() + time, 0);
        while let Ok(Some(key)) = tokio::time::timeout_at(until, queue.next()).await {
            tries += 1;
            queue.done(&key, Outcome::Refused);
        }
        tries
    }

    #[tokio::test(start_paused = true)]
    async fn refused_keys_together_are_tried_only_so_often() {
        let queue = Queue::new(Ambient::default());
        let minutes = Duration::from_secs(100);
        let tries = refusals(&queue, 600, minutes).await;
        let most = 600 + 20 + 100 * 8;
        assert!((most * 9 / 10..=most).contains(&tries), "{tries} of at most {most}");
        // One whose object changes need not wait for the others, nor one of another namespace.
        queue.add(key("refused", "7"));
        queue.add(key("calm", "1"));
        let started = Instant::now();
        let mut first = Vec::new();
        while !(first.contains(&"calm/1".to_owned()) && first.contains(&"refused/7".to_owned())) {
            let key = queue.next().await.unwrap();
            first.push(key.name.to_string());
            queue.done(&key, Outcome::Refused);
        }
        assert!(started.elapsed() <= CURE_BACKOFF * 2, "{:?}", started.elapsed());
        // And all come out in the end.
        tokio::time::advance(LAST_BACKOFF * 2).await;
        let mut left: HashSet<_> = (0..600).map(|number| format!("refused/{number}")).collect();
        while let Ok(Some(key)) = tokio::time::timeout(LAST_BACKOFF * 2, queue.next()).await {
            left.remove(&key.name.to_string());
            queue.done(&key, Outcome::Done);
        }
        assert!(left.is_empty() && queue.is_idle(), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_refused_keys_are_tried_as_failed_ones_are() {
        let queue = Queue::new(Ambient::default());
        assert!(refusals(&queue, 3, Duration::from_secs(1)).await >= 9, "the first pauses are short");
    }
}
