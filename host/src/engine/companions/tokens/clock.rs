//! Notices that the wall clock has run ahead of the timers by which tokens are renewed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::info;
use weft_core::object::Kind;

use crate::engine::ambient::WallClock;
use crate::engine::cache::state::State;

/// How often the clocks are compared.
const PERIOD: Duration = Duration::from_secs(10);
/// By how much the wall clock may run ahead in that time: no clock that is slewed does.
const JUMP: Duration = Duration::from_secs(5);

/// Requeues all pods when the wall clock has jumped ahead, for ever: the machine was suspended, or the clock was set.
pub(crate) async fn watch_forever(state: Arc<State>, wall: WallClock) {
    loop {
        let (before, begun) = (wall(), Instant::now());
        tokio::time::sleep(PERIOD).await;
        if since(before, wall()) > begun.elapsed() + JUMP {
            info!("the wall clock has jumped ahead; tokens are checked");
            state.requeue_kind(&Kind::new("v1/Pod"));
        }
    }
}

/// The time from `start` to `end`; zero if it is not after it.
pub(super) fn since(start: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    use crate::engine::queue::Outcome;
    use crate::engine::testing::{Bench, pod, settle};

    #[tokio::test(start_paused = true)]
    async fn pods_are_requeued_when_the_clock_jumps_ahead_and_not_otherwise() {
        let bench = Bench::echoing();
        bench.put_virtual("v1/Pod", pod());
        let wall = Arc::new(AtomicI64::new(0));
        let read = wall.clone();
        let clock = Arc::new(move || Timestamp::from_second(read.load(Ordering::Relaxed)).unwrap());
        let watching = tokio::spawn(watch_forever(bench.state.clone(), clock));
        for (seconds, requeues) in [(10, false), (-3600, false), (7200, true), (8, false)] {
            settle().await;
            wall.fetch_add(seconds, Ordering::Relaxed);
            tokio::time::sleep(PERIOD).await;
            let next = tokio::time::timeout(Duration::from_millis(1), bench.state.queue.next()).await;
            assert_eq!(next.is_ok(), requeues, "{seconds}");
            if let Ok(Some(key)) = next {
                bench.state.queue.done(&key, Outcome::Done);
            }
        }
        watching.abort();
    }
}
