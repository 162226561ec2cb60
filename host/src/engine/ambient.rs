//! The wall clock and the chance that an engine goes by. A simulation sets both, so that the same seed is the same run.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// A wall clock; tests set it. It may jump, as clocks of machines do: waits go by tokio's.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The wall clock and the chance of one engine; clones are the same.
#[derive(Clone)]
pub struct Ambient {
    wall: WallClock,
    chance: Arc<Mutex<StdRng>>,
}

impl Ambient {
    /// A clock of the caller's, and chance that is the same for the same seed.
    pub fn seeded(seed: u64, wall: WallClock) -> Self {
        Self { wall, chance: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    /// The time of the wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        (self.wall)()
    }

    /// The wall clock.
    pub(crate) fn wall(&self) -> WallClock {
        self.wall.clone()
    }

    /// A time between `range.start` and `range.end` times as long, so that what began together does not come back together.
    pub(crate) fn jittered(&self, time: Duration, range: Range<f64>) -> Duration {
        let factor = self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(range);
        time.mul_f64(factor)
    }
}

/// The clock of the machine, and a seed of the operating system's.
impl Default for Ambient {
    fn default() -> Self {
        Self { wall: Arc::new(Timestamp::now), chance: Arc::new(Mutex::new(StdRng::from_os_rng())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_times_and_they_stay_in_their_range() {
        let times = |seed| {
            let ambient = Ambient::seeded(seed, Arc::new(Timestamp::now));
            (0..50).map(|_| ambient.jittered(Duration::from_secs(8), 0.75..1.25)).collect::<Vec<_>>()
        };
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
        let range = Duration::from_secs(6)..Duration::from_secs(10);
        assert!(times(7).iter().all(|time| range.contains(time)), "{:?}", times(7));
    }
}
