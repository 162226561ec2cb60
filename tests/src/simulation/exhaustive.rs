//! Every run of one short life of two objects with at most two faults: each of any kind, over any of the syncer's writes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::actions::{Action, Kind, Place};
use super::network::Fault;
use super::parallel::each;
use super::run::{Outcome, run};
use super::schedule::{Event, Schedule, Step};

const POD: Place = Place { namespace: "blue", name: "one", kind: Kind::Pod };
const CONFIG: Place = Place { name: "two", kind: Kind::ConfigMap, ..POD };
/// The pod mounts the ConfigMap and a token. Milliseconds are those that pass afterwards.
const LIFE: [(Action, u64); 5] = [
    (Action::Create(CONFIG, 0), 50),
    (Action::Create(POD, 3), 7000),
    (Action::Edit(CONFIG, 1), 2000),
    (Action::Delete(POD), 7000),
    (Action::Delete(CONFIG), 2000),
];
const FAULTS: [Fault; 9] = [
    Fault::LostBefore,
    Fault::LostAfter,
    Fault::HangsBefore,
    Fault::HangsAfter,
    Fault::Refused(500),
    Fault::RefusedAfter(500),
    Fault::Late(Duration::from_secs(5)),
    Fault::DiesBefore,
    Fault::DiesAfter,
];

/// A fault, and how many writes pass before it.
type Placed = (u32, Fault);

/// What is kept of a run.
struct Played {
    failures: Vec<String>,
    writes: u32,
    states: BTreeSet<u64>,
}

impl Played {
    fn of(outcome: Outcome) -> Self {
        let writes = outcome.exchanges.iter().filter(|exchange| !exchange.line.starts_with("GET ")).count();
        let writes = u32::try_from(writes).unwrap_or(u32::MAX);
        Self { failures: outcome.failures, writes, states: outcome.states }
    }
}

/// What was found.
#[derive(Default)]
pub struct Explored {
    /// How many runs there are.
    pub runs: usize,
    /// How many states of both servers the syncer's writes have met.
    pub states: usize,
    /// The runs in which something went wrong, and what.
    pub failed: Vec<(Schedule, Vec<String>)>,
}

/// Plays the life with every choice of at most `faults` faults, on all processors.
///
/// # Errors
/// A run cannot be played.
pub fn explore(faults: usize) -> anyhow::Result<Explored> {
    let (mut explored, mut states) = (Explored::default(), BTreeSet::new());
    let mut choices: Vec<Vec<Placed>> = vec![Vec::new()];
    for depth in 0..=faults {
        let played = each(&choices, |choice| run(&schedule(choice)).map(Played::of))?;
        let mut further = Vec::new();
        for (choice, Played { failures, writes, states: met }) in choices.into_iter().zip(played) {
            explored.runs += 1;
            states.extend(met);
            if depth < faults {
                further.extend(one_more(&choice, writes));
            }
            if !failures.is_empty() {
                explored.failed.push((schedule(&choice), failures));
            }
        }
        choices = further;
    }
    explored.states = states.len();
    Ok(explored)
}

/// These faults, and one more over each of the writes that come after them.
fn one_more(choice: &[Placed], writes: u32) -> impl Iterator<Item = Vec<Placed>> {
    let passed: u32 = choice.iter().map(|(skip, _)| skip + 1).sum();
    let (choice, left) = (choice.to_vec(), writes.saturating_sub(passed));
    (0..left).flat_map(move |skip| {
        let choice = choice.clone();
        FAULTS.into_iter().map(move |fault| [&choice[..], &[(skip, fault)]].concat())
    })
}

fn schedule(choice: &[Placed]) -> Schedule {
    let faults = choice.iter().map(|(skip, fault)| (Event::WriteFault(*skip, *fault), 0));
    let life = LIFE.iter().map(|(action, pause)| (Event::Act(*action), *pause));
    let step = |(event, pause)| Step { event, pause: Duration::from_millis(pause) };
    Schedule { seed: 1, steps: faults.chain(life).map(step).collect() }
}
