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

use lanes::Lanes;
pub(crate) use lanes::Limits;
pub(crate) use outcome::Outcome;

/// First pause after a failure; doubled with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Longest pause: within it a key profits from what heals elsewhere.
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// A change of the object may be the cure, so it shortens the pause, but to no less than this.
const CURE_BACKOFF: Duration = Duration::from_secs(1);

/// The keys that wait to be reconciled.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    lanes: Lanes,
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
                state.later.keys().next().map(|(time, _)| *time)
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
            Outcome::Failed(asked) => {
                let delay = state.fail(key, asked);
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

impl State {
    fn add(&mut self, key: Key) {
        if let Some(again) = self.in_flight.get_mut(&key) {
            *again = true;
            return;
        }
        if let Some(failure) = self.failures.get(&key) {
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
    fn fail(&mut self, key: &Key, asked: Option<Duration>) -> Duration {
        let now = Instant::now();
        let failure = self.failures.entry(key.clone()).or_insert(Failure { count: 0, not_before: now });
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
            self.lanes.push(key);
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_kind_does_not_come_out_again() {
        let queue = Queue::default();
        for name in ["1", "2", "3"] {
            queue.add(key("a", name));
        }
        let outcomes = [Outcome::Failed(None), Outcome::Again(Duration::from_secs(1))];
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
