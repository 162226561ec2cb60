//! Finds the fewest steps of a schedule with which a run still fails.

use super::run::run;
use super::schedule::Schedule;

/// Leaves out what a failure does not need: halves first, then ever smaller parts, until no single step can go. Gives the
/// schedule as it was if it does not fail.
///
/// # Errors
/// A run cannot be played.
pub fn shrink(schedule: &Schedule) -> anyhow::Result<Schedule> {
    let mut least = schedule.clone();
    let mut size = (least.steps.len() / 2).max(1);
    loop {
        let before = least.steps.len();
        let mut start = 0;
        while start < least.steps.len() {
            let candidate = least.without(start..start + size);
            if run(&candidate)?.failures.is_empty() {
                start += size;
            } else {
                least = candidate;
            }
        }
        // A step may be needed only for another that has gone since.
        if size == 1 && least.steps.len() == before {
            return Ok(least);
        }
        size = (size / 2).max(1);
    }
}
