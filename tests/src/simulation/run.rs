//! Plays one schedule from beginning to end, and says what went wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;

use super::network::Exchange;
use super::schedule::{Event, Schedule};
use super::world::World;

/// How long the syncer has to bring both sides in step once nothing goes wrong any more.
const BOUND: Duration = Duration::from_mins(12);
/// Between two looks of the controllers and at the servers.
const TICK: Duration = Duration::from_secs(2);
/// For how long nothing is written once both sides are in step: longer than any watch lasts.
const SILENCE: Duration = Duration::from_mins(1);
/// The same for one seed in [`PATIENT`], which shows what is done by slower clocks. Tokens are renewed meanwhile.
const LONG_SILENCE: Duration = Duration::from_mins(90);
const PATIENT: u64 = 1000;

/// What came of a run.
pub struct Outcome {
    /// What went wrong, each a sentence; none if all went well.
    pub failures: Vec<String>,
    /// What the syncer asked for and wrote.
    pub exchanges: Vec<Exchange>,
    /// The objects of both sides at the end, one a line.
    pub objects: Vec<String>,
    /// The states of both servers that the writes have met, as digests.
    pub states: BTreeSet<u64>,
    /// How long it took after the last fault until both sides were in step.
    pub settled_after: Duration,
}

/// Plays a schedule on a clock of its own.
///
/// # Errors
/// The runtime cannot be built.
pub fn run(schedule: &Schedule) -> anyhow::Result<Outcome> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    runtime.rng_seed(tokio::runtime::RngSeed::from_bytes(&schedule.seed.to_le_bytes()));
    let runtime = runtime.build();
    runtime.context("no runtime")?.block_on(play(schedule))
}

async fn play(schedule: &Schedule) -> anyhow::Result<Outcome> {
    let mut world = World::new(schedule.seed)?;
    world.start();
    for step in &schedule.steps {
        happen(&mut world, step.event);
        world.pass(step.pause).await;
        world.control();
    }
    world.network.heal();
    if world.syncers() == 0 {
        world.start();
    }
    let healed = world.age();
    let silence = if schedule.seed.is_multiple_of(PATIENT) { LONG_SILENCE } else { SILENCE };
    let mut failures = settle(&world, silence).await;
    let settled_after = world.age().saturating_sub(healed).saturating_sub(silence);
    failures.extend(world.network.violations());
    let (exchanges, objects, states) = (world.network.exchanges(), world.objects(), world.network.states());
    Ok(Outcome { failures, exchanges, objects, states, settled_after })
}

fn happen(world: &mut World, event: Event) {
    match event {
        Event::Act(action) => world.act(action),
        Event::Fault(side, skip, fault) => world.network.plan(side, skip, fault),
        Event::WriteFault(skip, fault) => world.network.plan_write(skip, fault),
        Event::Break(side, how) => world.network.break_watches(side, how),
        Event::Compact(side) => world.server(side).compact(),
        Event::Keep(side) => world.server(side).keep(),
        Event::GoBack(side) => world.go_back(side),
        Event::Restart => {
            world.kill();
            world.start();
        }
        Event::Double if world.syncers() < 2 => world.start(),
        Event::Double => {}
        Event::Kill => world.kill(),
    }
}

/// Waits until both sides are in step and nobody has written for a while; returns what is wrong when the time is over.
async fn settle(world: &World, silence: Duration) -> Vec<String> {
    let end = world.age() + BOUND + silence;
    let (mut calm_since, mut writes) = (world.age(), world.network.writes());
    let (mut differences, mut seen, mut is_at_rest) = (Vec::new(), None, false);
    loop {
        tokio::time::sleep(TICK).await;
        // What depends on the servers alone is as it was while they are.
        let revisions = world.revisions();
        if seen != Some(revisions) || world.awaits_time() {
            differences = world.differences();
            is_at_rest = !world.control();
            seen = Some(revisions);
        }
        // Where somebody else has a name or an address, the syncer tries for ever.
        let is_silent = world.network.writes() == writes || world.is_obstructed();
        let bad_tokens = world.bad_tokens();
        if !(is_at_rest && differences.is_empty() && bad_tokens.is_empty() && is_silent) {
            (calm_since, writes) = (world.age(), world.network.writes());
        }
        if world.age().saturating_sub(calm_since) >= silence {
            return Vec::new();
        }
        if world.age() > end {
            differences.extend(bad_tokens);
            return if differences.is_empty() { vec![world.last_write()] } else { differences };
        }
    }
}
