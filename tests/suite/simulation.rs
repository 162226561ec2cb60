//! Runs that have shown a fault of the syncer, by what went wrong: see `cargo simulate`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::simulation::actions::{Action, Kind, Place};
use weft_tests::simulation::exhaustive::{Explored, explore};
use weft_tests::simulation::network::{Break, Side};
use weft_tests::simulation::run::run;
use weft_tests::simulation::schedule::{Event, Schedule, Step};

const POD: Place = Place { namespace: "blue", name: "one", kind: Kind::Pod };
const CLAIM: Place = Place { kind: Kind::Claim, ..POD };

/// Plays these events, with so many milliseconds after each; nothing may go wrong.
fn play(events: &[(Event, u64)]) -> Result<()> {
    let step = |(event, pause): &(Event, u64)| Step { event: *event, pause: Duration::from_millis(*pause) };
    let outcome = run(&Schedule { seed: 7, steps: events.iter().map(step).collect() })?;
    ensure!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
    Ok(())
}

/// The first syncer's watch of the virtual cluster says nothing any more, and it sees host objects whose virtual ones it does not
/// know: it took them for orphans, and deleted a pod as soon as the second syncer had created it, again and again.
#[test]
fn a_syncer_whose_watch_says_nothing_leaves_what_another_one_has_made() -> Result<()> {
    play(&[
        (Event::Break(Side::Virtual, Break::Freeze), 0),
        (Event::Double, 4000),
        (Event::Act(Action::Create(POD, 0)), 1000),
        (Event::Act(Action::Create(CLAIM, 0)), 5000),
    ])
}

/// The watch of the first syncer has shown that the pod was deleted, and not the one of the same name that came after it, which
/// the second syncer has created on the host.
#[test]
fn a_pod_that_comes_again_is_not_taken_for_the_one_that_is_gone() -> Result<()> {
    play(&[
        (Event::Double, 1349),
        (Event::Act(Action::Create(POD, 0)), 134),
        (Event::Act(Action::Delete(POD)), 17),
        (Event::Break(Side::Virtual, Break::Reset), 112),
        (Event::Act(Action::Create(POD, 0)), 1),
    ])
}

/// They are put in by `cargo simulate --mutants`.
#[test]
fn every_mutant_fits_the_tree() -> Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    for patch in fs::read_dir(tests.join("mutants"))? {
        let patch = patch?.path();
        let mut git = Command::new("git");
        let checked = git.args(["apply", "--check"]).arg(&patch).current_dir(tests.join("..")).output()?;
        let complaint = String::from_utf8_lossy(&checked.stderr);
        ensure!(checked.status.success(), "make {} again: {complaint}", patch.display());
    }
    Ok(())
}

/// The virtual pod was bound, and in the state that its server has gone back to it is not: it stayed Pending, as the syncer
/// remembered that its binding was accepted.
#[test]
fn a_binding_that_a_server_has_lost_is_sent_again() -> Result<()> {
    play(&[
        (Event::Act(Action::Create(POD, 1)), 39),
        (Event::Keep(Side::Virtual), 1000),
        (Event::GoBack(Side::Virtual), 0),
    ])
}

/// The Service of the virtual DNS is made anew, and may get the very version that the lost one had: it was taken for that.
#[test]
fn what_is_made_anew_with_the_version_of_what_was_lost_is_another_object() -> Result<()> {
    play(&[(Event::Compact(Side::Host), 1069), (Event::GoBack(Side::Virtual), 3)])
}

/// The host objects of the lost history had been deleted, in versions that the restored server has yet to come to: what was made
/// anew under their names stayed unseen, and pods waited for the DNS Service for ever.
#[test]
fn deletions_that_a_server_has_lost_keep_nothing_out() -> Result<()> {
    play(&[
        (Event::Act(Action::Create(POD, 3)), 4076),
        (Event::GoBack(Side::Virtual), 4054),
        (Event::GoBack(Side::Host), 137),
        (Event::Act(Action::Create(Place { namespace: "green", name: "two", kind: Kind::Pod }, 3)), 83),
    ])
}

/// `cargo simulate --exhaustive` plays every pair of faults.
#[test]
fn a_life_ends_well_with_any_one_fault_over_any_one_write() -> Result<()> {
    let Explored { runs, states, failed } = explore(1)?;
    ensure!(runs > 100 && states > 20, "{runs} runs through {states} states are not the life that was meant");
    ensure!(failed.is_empty(), "{:?}", failed.first());
    Ok(())
}

/// Any seeds will do; `cargo simulate` plays many more.
#[test]
fn both_sides_are_in_step_after_the_faults_of_two_hundred_seeds() -> Result<()> {
    for seed in 0..200 {
        let outcome = run(&Schedule::of(seed))?;
        ensure!(outcome.failures.is_empty(), "seed {seed}: {}", outcome.failures.join("\n"));
    }
    Ok(())
}
