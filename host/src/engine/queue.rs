//! Hands out keys: each once, never the same key twice at once, fair between virtual namespaces and kinds.
//!
//! A key that is added while it is in flight comes out again afterwards. Keys of objects that are gone
//! come out like all others. Bounded by construction: a key is held at most once.

mod lanes;
mod outcome;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::sync::Notify;
use tokio::time::Instant;
use weft_core::object::{Key, Kind};

use crate::bucket::Bucket;
use lanes::Lanes;
pub(crate) use lanes::Limits;
pub(crate) use outcome::Outcome;

/// First pause after a failure; doubled with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Longest pause: within it a key profits from what heals elsewhere.
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// A change of the object may be the cure, so it shortens the pause, but to no less than this.
const CURE_BACKOFF: Duration = Duration::from_secs(1);

/// So many refused keys are tried again at once, and after that one in this time: nothing but the cure of the refusal makes another
/// try better than the last, and each costs a request.
const REFUSED: (u32, Duration) = (20, Duration::from_millis(125));

/// The keys that wait to be reconciled.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
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
}

struct Failure {
    /// How often in a row.
    count: u32,
    /// Not even a change of the object brings the key out before this time.
    not_before: Instant,
    /// Whether the last failure was a refusal.
    is_refusal: bool,
}

impl Queue {
    /// Queues `key`, to be reconciled now or as soon as it is no longer in flight.
    pub(crate) fn add(&self, key: Key) {
        self.lock().add(key);
        self.changed.notify_one();
    }

    /// The next key; `None` once the queue is closed.
    pub(crate) async fn next(&self) -> Option<Key> {
        loop {
            let wake = {
                let mut state = self.lock();
                if state.closed {
                    self.changed.notify_one();
                    return None;
                }
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    // Another worker may take the next one.
                    if state.lanes.has_turn() {
                        self.changed.notify_one();
                    }
                    return Some(key);
                }
                state.next_time()
            };
            match wake {
                Some(time) => {
                    let _ = tokio::time::timeout_at(time, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Ends the work on `key`, which [`Self::next`] returned.
    pub(crate) fn done(&self, key: &Key, outcome: Outcome) {
        let mut state = self.lock();
        let added_meanwhile = state.in_flight.remove(key).unwrap_or_default();
        state.lanes.release(key);
        match outcome {
            Outcome::Failed(_) | Outcome::Refused => {
                let delay = state.fail(key, outcome);
                // What was added meanwhile waits too: else an object that changes all the time would
                // be tried without any pause.
                state.add_at(key.clone(), Instant::now() + delay);
            }
            Outcome::Done | Outcome::Again(_) => {
                state.failures.remove(key);
                if added_meanwhile {
                    state.add(key.clone());
                } else if let Outcome::Again(delay) = outcome {
                    state.add_at(key.clone(), Instant::now() + delay);
                }
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Sets how many keys may be in flight at once.
    pub(crate) fn limit(&self, limits: Limits) {
        let mut state = self.lock();
        let State { lanes, in_flight, .. } = &mut *state;
        lanes.limit(limits, in_flight.keys());
        drop(state);
        self.changed.notify_one();
    }

    /// Drops every key of a kind that waits; what is in flight ends by itself.
    pub(crate) fn forget(&self, kind: &Kind) {
        let mut state = self.lock();
        state.lanes.forget(kind);
        state.refused.forget(kind);
        state.due.retain(|key, _| key.kind != *kind);
        state.later.retain(|_, key| key.kind != *kind);
        state.failures.retain(|key, _| key.kind != *kind);
    }

    /// Whether nothing is ready or in flight.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.lanes.is_empty() && state.in_flight.is_empty()
    }

    /// Lets every [`Self::next`] end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for State {
    fn default() -> Self {
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
        }
    }
}

impl State {
    fn add(&mut self, key: Key) {
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

    /// Counts a failure, unless it comes with a time to wait: that says nothing about the key. Returns the pause before the
    /// next try.
    fn fail(&mut self, key: &Key, outcome: Outcome) -> Duration {
        let now = Instant::now();
        let asked = if let Outcome::Failed(asked) = outcome { asked } else { None };
        let first = Failure { count: 0, not_before: now, is_refusal: false };
        let failure = self.failures.entry(key.clone()).or_insert(first);
        failure.is_refusal = outcome == Outcome::Refused;
        failure.count += u32::from(asked.is_none());
        let delay = asked.unwrap_or_else(|| backoff(failure.count));
        failure.not_before = now + asked.unwrap_or_else(|| delay.min(CURE_BACKOFF));
        delay
    }

    /// Makes the keys ready whose time has come.
    fn promote(&mut self, now: Instant) {
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
    fn next_time(&self) -> Option<Instant> {
        let later = self.later.keys().next().map(|(time, _)| *time);
        let refused = self.refused.has_turn().then(|| self.pace.next());
        later.into_iter().chain(refused).min()
    }

    fn take(&mut self) -> Option<Key> {
        let key = self.lanes.take()?;
        self.in_flight.insert(key.clone(), false);
        Some(key)
    }
}

/// Doubles from [`FIRST_BACKOFF`] to [`LAST_BACKOFF`], with jitter so that many keys that failed together
/// do not come back together.
fn backoff(failures: u32) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_BACKOFF);
    doubled.mul_f64(rand::rng().random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::object::VirtualName;

    fn key(namespace: &str, name: &str) -> Key {
        Key { kind: Kind::new("v1/Pod"), name: VirtualName::new(namespace, name) }
    }

    async fn next(queue: &Queue) -> Option<String> {
        let key = tokio::time::timeout(Duration::from_millis(1), queue.next()).await.ok()??;
        Some(key.name.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_never_in_flight_twice() {
        let queue = Queue::default();
        queue.add(key("a", "1"));
        queue.add(key("a", "1"));
        assert_eq!(next(&queue).await.as_deref(), Some("a/1"));
        queue.add(key("a", "1"));
        assert_eq!(next(&queue).await, None);
        queue.done(&key("a", "1"), Outcome::Done);
        assert_eq!(next(&queue).await.as_deref(), Some("a/1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_in_one_namespace_does_not_delay_another() {
        let queue = Queue::default();
        (0..1000).for_each(|number| queue.add(key("storm", &number.to_string())));
        queue.add(key("calm", "1"));
        assert_eq!(next(&queue).await.as_deref(), Some("storm/0"));
        assert_eq!(next(&queue).await.as_deref(), Some("calm/1"));
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
        let pauses = pauses(&Queue::default(), false).await;
        assert!(
            pauses[1] >= Duration::from_millis(37) && pauses[11] >= Duration::from_secs(22),
            "{pauses:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_shortens_the_pause_of_a_failed_key_but_does_not_end_it() {
        let pauses = pauses(&Queue::default(), true).await;
        assert!(pauses[11] >= CURE_BACKOFF && pauses[11] < CURE_BACKOFF * 2, "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_a_server_asks_for_is_obeyed() {
        let queue = Queue::default();
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
        let queue = Queue::default();
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
        let mut left: std::collections::HashSet<_> =
            (0..600).map(|number| format!("refused/{number}")).collect();
        while let Ok(Some(key)) = tokio::time::timeout(LAST_BACKOFF * 2, queue.next()).await {
            left.remove(&key.name.to_string());
            queue.done(&key, Outcome::Done);
        }
        assert!(left.is_empty() && queue.is_idle(), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_refused_keys_are_tried_as_failed_ones_are() {
        let queue = Queue::default();
        assert!(refusals(&queue, 3, Duration::from_secs(1)).await >= 9, "the first pauses are short");
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_kind_does_not_come_out_again() {
        let queue = Queue::default();
        for name in ["1", "2", "3"] {
            queue.add(key("a", name));
        }
        let outcomes = [Outcome::Failed(None), Outcome::Refused];
        for outcome in outcomes {
            let key = queue.next().await.unwrap();
            queue.done(&key, outcome);
        }
        queue.forget(&Kind::new("v1/Pod"));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(next(&queue).await, None);
        // What failed before its kind was forgotten begins anew.
        queue.add(key("a", "1"));
        assert_eq!(next(&queue).await.as_deref(), Some("a/1"));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_every_worker() {
        let queue = std::sync::Arc::new(Queue::default());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                tokio::spawn({
                    let queue = queue.clone();
                    async move { queue.next().await }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.unwrap(), None);
        }
    }
}
