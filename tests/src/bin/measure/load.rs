//! Sends requests: as fast as the servers answer, or by the clock.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

/// How many requests of a burst are in flight.
pub(crate) const IN_FLIGHT: usize = 32;

/// How requests follow each other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// The next when one of those in flight is answered.
    Burst,
    /// So many a second, whatever happens to them: a server that stalls does not slow the load.
    PerSecond(u32),
}

impl Pace {
    /// When a request is due, counted from the first.
    fn due(self, number: u32) -> Option<Duration> {
        match self {
            Self::Burst => None,
            Self::PerSecond(rate) => Some(Duration::from_secs(1) / rate * number),
        }
    }
}

/// Runs one job for each item and waits for all.
pub(crate) async fn run<T, F>(pace: Pace, items: &[T], job: impl Fn(&T, Option<Instant>) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let started = Instant::now();
    let mut running = JoinSet::new();
    for (number, item) in (0..).zip(items) {
        let due = pace.due(number).map(|after| started + after);
        match due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => room(&mut running).await?,
        }
        running.spawn(job(item, due));
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Waits until one more request may be sent.
async fn room(running: &mut JoinSet<Result<()>>) -> Result<()> {
    while running.len() >= IN_FLIGHT {
        if let Some(done) = running.join_next().await {
            done??;
        }
    }
    Ok(())
}
