//! How often something may happen: so often at once, and after that at a steady pace.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Fewer buckets than this are not worth clearing away.
const FEW: usize = 64;

/// A bucket of tokens, which come back one by one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    pace: Pace,
    /// When it will be full again; in the past for a full one.
    full_at: Instant,
}

/// A bucket of tokens for each of many.
pub(crate) struct Buckets<K> {
    pace: Pace,
    /// Full ones need not be here.
    by_key: HashMap<K, Bucket>,
    /// At so many buckets the full ones are cleared away.
    clear_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Tokens in a full bucket.
    burst: u32,
    /// After this time there is one token more.
    refill: Duration,
}

impl Bucket {
    /// A full bucket of `burst` tokens, which come back one by one, each after `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        Self::full(Pace { burst, refill }, Instant::now())
    }

    fn full(pace: Pace, now: Instant) -> Self {
        Self { pace, full_at: now }
    }

    /// Takes a token; false where there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let has_any = self.has_any(now);
        if has_any {
            self.full_at = self.full_at.max(now) + self.pace.refill;
        }
        has_any
    }

    /// Whether no token is missing.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// When there is a token to take: now, or in the future.
    pub(crate) fn next(&self) -> Instant {
        let Pace { burst, refill } = self.pace;
        // A full bucket has had all but one of its tokens for some time.
        self.full_at.checked_sub(refill * burst.saturating_sub(1)).unwrap_or(self.full_at)
    }

    /// Whether there is a token to take.
    pub(crate) fn has_any(&self, now: Instant) -> bool {
        let Pace { burst, refill } = self.pace;
        self.full_at.saturating_duration_since(now) + refill <= refill * burst
    }
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    /// Full buckets of `burst` tokens, which come back one by one, each after `refill`.
    pub(crate) fn new(burst: u32, refill: Duration) -> Self {
        Self { pace: Pace { burst, refill }, by_key: HashMap::new(), clear_at: FEW }
    }

    /// Takes a token; false where there is none.
    pub(crate) fn take(&mut self, key: &K, now: Instant) -> bool {
        if self.by_key.len() >= self.clear_at {
            self.by_key.retain(|_, bucket| !bucket.is_full(now));
            self.clear_at = FEW.max(self.by_key.len() * 2);
        }
        let pace = self.pace;
        self.by_key.entry(key.clone()).or_insert_with(|| Bucket::full(pace, now)).take(now)
    }

    /// Whether there is a token to take.
    pub(crate) fn has_any(&self, key: &K, now: Instant) -> bool {
        self.by_key.get(key).is_none_or(|bucket| bucket.has_any(now))
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
    fn a_bucket_alone_is_like_one_of_many() {
        let (mut bucket, now) = (Bucket::new(2, SECOND), Instant::now());
        assert_eq!(
            [0, 0, 0, 1, 1].map(|after| bucket.take(now + SECOND * after)),
            [true, true, false, true, false]
        );
        assert_eq!(bucket.next(), now + SECOND * 2);
        assert!(!bucket.has_any(bucket.next() - SECOND / 2) && bucket.has_any(bucket.next()));
    }

    #[test]
    fn full_buckets_are_cleared_away() {
        let (mut buckets, start) = (Buckets::new(1, SECOND), Instant::now());
        for number in 0..1000 {
            assert!(buckets.take(&number, start + SECOND * number));
        }
        assert!(buckets.by_key.len() <= FEW, "{}", buckets.by_key.len());
    }
}
