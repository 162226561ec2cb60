//! Plays many runs on all processors.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does the work of each item; gives what came of it, in order.
///
/// # Errors
/// The first that `work` gives; a panic of it is one, too.
pub fn each<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let take = || -> anyhow::Result<Vec<(usize, T)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return Ok(done) };
            done.push((index, work(item)?));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        let mut done = Vec::with_capacity(items.len());
        for thread in threads {
            // A run that panics is a fault of the syncer, or of the simulation: the message is on the screen.
            done.extend(thread.join().map_err(|_| anyhow::anyhow!("a run has panicked"))??);
        }
        anyhow::Ok(done)
    })?;
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, came)| came).collect())
}
