//! Plays many seeds on all processors, or one.

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use weft_tests::simulation::exhaustive::explore;
use weft_tests::simulation::parallel::each;
use weft_tests::simulation::run::run;
use weft_tests::simulation::schedule::Schedule;
use weft_tests::simulation::shrink::shrink;

use crate::{Arguments, report};

/// After so many failures there is enough to do.
const ENOUGH: u64 = 10;
/// Each of so many seeds is played twice, to see that it is the same run.
const COMPARED: u64 = 500;
/// So many seeds are played between two looks at the clock.
const BATCH: u64 = 1000;
/// The same where the first failure is the end.
const BRIEF_BATCH: u64 = 50;

pub(crate) fn play(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match (arguments.seed, arguments.exhaustive) {
        (Some(seed), _) => one(seed, arguments.reads),
        (None, Some(faults)) => exhaustive(faults),
        (None, None) => many(arguments),
    }
}

fn exhaustive(faults: usize) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let explored = explore(faults)?;
    if let Some((schedule, _)) = explored.failed.first() {
        let schedule = shrink(schedule)?;
        report::print_run(&schedule, &run(&schedule)?, false);
    }
    report::print_explored(&explored, started.elapsed());
    Ok(if explored.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64, reads: bool) -> anyhow::Result<ExitCode> {
    let schedule = Schedule::of(seed);
    let failed = !run(&schedule)?.failures.is_empty();
    let schedule = if failed { shrink(&schedule)? } else { schedule };
    report::print_run(&schedule, &run(&schedule)?, reads);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn many(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let has_passed = |minutes: u64| started.elapsed() >= Duration::from_secs(minutes * 60);
    let (mut first, mut left, mut failed) = (arguments.first, arguments.seeds, Vec::new());
    loop {
        let count = left.min(if arguments.brief { BRIEF_BATCH } else { BATCH });
        failed.extend(batch(first..first + count)?);
        (first, left) = (first + count, left - count);
        if left == 0 && arguments.minutes.is_some_and(|minutes| !has_passed(minutes)) {
            left = BATCH;
        }
        let is_enough = failed.len() as u64 >= ENOUGH || (arguments.brief && !failed.is_empty());
        if left == 0 || is_enough || arguments.at_most.is_some_and(has_passed) {
            break;
        }
    }
    if let Some(seed) = failed.first().filter(|_| !arguments.brief) {
        one(*seed, false)?;
    }
    report::print_summary(first - arguments.first, &failed, started.elapsed());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays these seeds; gives those that fail, in order.
fn batch(seeds: Range<u64>) -> anyhow::Result<Vec<u64>> {
    let seeds: Vec<u64> = seeds.collect();
    let failed = each(&seeds, |&seed| {
        let schedule = Schedule::of(seed);
        let outcome = run(&schedule)?;
        if cfg!(tokio_unstable)
            && seed.is_multiple_of(COMPARED)
            && run(&schedule)?.exchanges != outcome.exchanges
        {
            anyhow::bail!("seed {seed} is another run each time");
        }
        Ok((!outcome.failures.is_empty()).then_some(seed))
    })?;
    Ok(failed.into_iter().flatten().collect())
}
