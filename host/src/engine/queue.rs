//! Hands out keys: each once, never the same key twice at once, fair between virtual namespaces and kinds.
//!
//! A key that is added while it is in flight comes out again afterwards. Keys of objects that are gone
//! come out like all others. Bounded by construction: a key is held at most once.

mod lanes;
mod outcome;
mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use weft_core::object::{Key, Kind};

use crate::engine::ambient::Ambient;
pub(crate) use lanes::Limits;
pub(crate) use outcome::Outcome;
use state::State;

/// The keys that wait to be reconciled.
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    /// An empty queue, whose pauses after failures are spread by chance.
    pub(crate) fn new(ambient: Ambient) -> Self {
        Self { state: Mutex::new(State::new(ambient)), changed: Notify::default() }
    }

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
                if state.is_closed() {
                    self.changed.notify_one();
                    return None;
                }
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    // Another worker may take the next one.
                    if state.has_turn() {
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
        self.lock().done(key, outcome);
        self.changed.notify_one();
    }

    /// Sets how many keys may be in flight at once.
    pub(crate) fn limit(&self, limits: Limits) {
        self.lock().limit(limits);
        self.changed.notify_one();
    }

    /// Drops every key of a kind that waits; what is in flight ends by itself.
    pub(crate) fn forget(&self, kind: &Kind) {
        self.lock().forget(kind);
    }

    /// Whether nothing is ready or in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Lets every [`Self::next`] end.
    pub(crate) fn close(&self) {
        self.lock().close();
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
        let queue = Queue::new(Ambient::default());
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
        let queue = Queue::new(Ambient::default());
        (0..1000).for_each(|number| queue.add(key("storm", &number.to_string())));
        queue.add(key("calm", "1"));
        assert_eq!(next(&queue).await.as_deref(), Some("storm/0"));
        assert_eq!(next(&queue).await.as_deref(), Some("calm/1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_kind_does_not_come_out_again() {
        let queue = Queue::new(Ambient::default());
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
        let queue = std::sync::Arc::new(Queue::new(Ambient::default()));
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
