//! Waits for a state that two clusters reach in their own time.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Interval between two probes.
const POLL: Duration = Duration::from_millis(50);

/// Default timeout of tests.
pub const SOON: Duration = Duration::from_secs(20);
/// So many times longer may it take: a timeout ends a test that would wait for ever, and does not judge how fast a machine
/// is on which eight tests and a build run at a time.
const CROWDED: u32 = 3;

/// Calls `probe` until it succeeds, for at most three times `timeout`, which is ample for a test that runs alone.
///
/// `sentence` is the expected state ("the host pod runs"); the failure has it and the last error of the probe.
pub async fn eventually<T, F>(sentence: &str, timeout: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let (started, timeout) = (Instant::now(), timeout * CROWDED);
    let mut last = None;
    loop {
        // A call that hangs must not hang the test: what it was waiting for counts as not seen.
        let left = timeout.saturating_sub(started.elapsed()).max(POLL);
        let seen = match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => seen,
            // What was seen before says more than that time ran out while looking once more.
            Err(_) => last.take().unwrap_or_else(|| anyhow!("no answer within {left:?}")),
        };
        if started.elapsed() >= timeout {
            return Err(seen.context(format!("not true within {timeout:?}: {sentence}; last seen")));
        }
        last = Some(seen);
        tokio::time::sleep(POLL).await;
    }
}

/// Checks for `duration` that `probe` succeeds every time.
pub async fn always<F>(sentence: &str, duration: Duration, mut probe: F) -> Result<()>
where
    F: AsyncFnMut() -> Result<()>,
{
    let started = Instant::now();
    while started.elapsed() < duration {
        probe().await.map_err(|seen| {
            seen.context(format!("no longer true after {:?}: {sentence}; seen", started.elapsed()))
        })?;
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
