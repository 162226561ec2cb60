//! Prints runs for people.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this module's work")]

use std::time::Duration;

use weft_tests::simulation::exhaustive::Explored;
use weft_tests::simulation::network::Exchange;
use weft_tests::simulation::run::Outcome;
use weft_tests::simulation::schedule::Schedule;

use crate::mutants::Notice;

/// Longer bodies say no more.
const LONGEST: usize = 400;

/// What happened, what the syncer asked for and wrote, what there was at the end, and what went wrong.
pub(crate) fn print_run(schedule: &Schedule, outcome: &Outcome, reads: bool) {
    println!("seed {}: what happened", schedule.seed);
    for step in &schedule.steps {
        println!("  {:?}, then {:?} of nothing", step.event, step.pause);
    }
    println!("what the syncer did, and what came of it, in seconds since the start");
    for exchange in outcome.exchanges.iter().filter(|exchange| reads || is_telling(exchange)) {
        let Exchange { at, side, line, body, end } = exchange;
        let body: String = body.chars().take(LONGEST).collect();
        println!("  {:>9.3} {side:?} {line} {body} → {end}", at.as_secs_f64());
    }
    println!("what there was at the end");
    outcome.objects.iter().for_each(|object| println!("  {object}"));
    match outcome.failures.as_slice() {
        [] => println!(
            "all went well; both sides were in step {:?} after the last fault",
            outcome.settled_after
        ),
        failures => failures.iter().for_each(|failure| println!("FAILED: {failure}")),
    }
}

/// Writes, and reads that did not go well.
fn is_telling(exchange: &Exchange) -> bool {
    !exchange.line.starts_with("GET ") || exchange.end != "200"
}

/// The last line.
pub(crate) fn print_summary(played: u64, failed: &[u64], took: Duration) {
    let seeds: Vec<String> = failed.iter().map(ToString::to_string).collect();
    let failed =
        if seeds.is_empty() { "none failed".to_owned() } else { format!("failed: {}", seeds.join(", ")) };
    println!("{played} runs in {:.0} s, {failed}", took.as_secs_f64());
}

/// The last line about every run of a life.
pub(crate) fn print_explored(explored: &Explored, took: Duration) {
    let Explored { runs, states, failed } = explored;
    println!("{runs} runs through {states} states in {:.0} s, {} failed", took.as_secs_f64(), failed.len());
}

/// What noticed a mutant.
pub(crate) fn print_mutant(name: &str, notice: &Notice) {
    match notice {
        Notice::Seed(seed) => println!("{name}: a run of seed {seed}"),
        Notice::Test(test) => println!("{name}: the test {test}"),
        Notice::Hang => println!("{name}: it does not end"),
        Notice::Broken(complaint) => println!("{name}: DOES NOT COMPILE\n{complaint}"),
        Notice::Nothing => println!("{name}: NOT NOTICED"),
    }
}

/// The last line about mutants.
pub(crate) fn print_mutants(tried: usize, unnoticed: usize) {
    println!("{} of {tried} mutants noticed", tried - unnoticed);
}

/// Why nothing can be played.
pub(crate) fn print_error(error: &anyhow::Error) {
    eprintln!("{error:#}");
}
