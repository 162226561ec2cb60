//! A bound on how often something may happen: a bucket of tokens that fills up again.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Tokens for one plugin.
#[derive(Debug)]
pub(super) struct Bucket {
    size: f64,
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// A full bucket of `size` tokens that gets `per_second` of them back.
    pub(super) fn new(size: u32, per_second: u32) -> Self {
        let size = f64::from(size);
        Self { size, per_second: f64::from(per_second), state: Mutex::new((size, Instant::now())) }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let filled = state.0 + now.duration_since(state.1).as_secs_f64() * self.per_second;
        let tokens = filled.min(self.size);
        let is_taken = tokens >= 1.0;
        *state = (if is_taken { tokens - 1.0 } else { tokens }, now);
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_runs_dry() {
        let bucket = Bucket::new(3, 0);
        assert_eq!([(); 5].map(|()| bucket.take()), [true, true, true, false, false]);
    }
}
