//! How often something may happen: so often at once, and after that at a steady pace.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Fewer buckets than this are not worth clearing away.
const FEW: usize = 64;

/// A bucket of tokens for each of many.
pub(crate) struct Buckets<K> {
    /// Tokens in a full bucket.
    burst: u32,
    /// After this time there is one token more.
    refill: Duration,
    /// When each bucket will be full again; full ones need not be here.
    full_at: HashMap<K, Instant>,
    /// At so many buckets the full ones are cleared away.
    clear_at: usize,
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    /// Full buckets of `burst` tokens, which come back one by one, each after `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill, full_at: HashMap::new(), clear_at: FEW }
    }

    /// Takes a token; false where there is none.
    pub(crate) fn take(&mut self, key: &K, now: Instant) -> bool {
        if !self.has_any(key, now) {
            return false;
        }
        if self.full_at.len() >= self.clear_at {
            self.full_at.retain(|_, time| *time > now);
            self.clear_at = FEW.max(self.full_at.len() * 2);
        }
        let full_at = self.full_at.entry(key.clone()).or_insert(now);
        *full_at = (*full_at).max(now) + self.refill;
        true
    }

    /// Whether there is a token to take.
    pub(crate) fn has_any(&self, key: &K, now: Instant) -> bool {
        let taken = self.full_at.get(key).map_or(Duration::ZERO, |time| time.saturating_duration_since(now));
        taken + self.refill <= self.refill * self.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let (mut buckets, now) = (Buckets::new(3, SECOND), Instant::now());
        let mut taken = |key: &str, after: u32| buckets.take(&key.to_owned(), now + SECOND * after);
        assert_eq!([0, 0, 0, 0].map(|after| taken("a", after)), [true, true, true, false]);
        assert!(taken("b", 0));
        assert_eq!([1, 1].map(|after| taken("a", after)), [true, false]);
        // A long rest makes no more than a full bucket.
        assert_eq!([100, 100, 100, 100].map(|after| taken("a", after)), [true, true, true, false]);
    }

    #[test]
    fn full_buckets_are_cleared_away() {
        let (mut buckets, start) = (Buckets::new(1, SECOND), Instant::now());
        for number in 0..1000 {
            assert!(buckets.take(&number, start + SECOND * number));
        }
        assert!(buckets.full_at.len() <= FEW, "{}", buckets.full_at.len());
    }
}
