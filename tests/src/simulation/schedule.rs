//! What happens in one run, in order, drawn from a seed: the tenant, the host, the servers and the syncer, each at any time.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::actions::Action;
use super::network::{Break, Fault, Side};

/// How many steps a schedule has at most.
const LONGEST: usize = 14;
/// How many requests pass at most before a fault comes over one.
const SKIPPED: u32 = 12;

/// One thing that happens, and how long nothing happens afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What happens.
    pub event: Event,
    /// The pause.
    pub pause: Duration,
}

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// Somebody who is not the syncer does something.
    Act(Action),
    /// A fault comes over a request of the syncer.
    Fault(Side, u32, Fault),
    /// A fault comes over a write of the syncer.
    WriteFault(u32, Fault),
    /// The watches of a side break.
    Break(Side, Break),
    /// A server forgets its past.
    Compact(Side),
    /// The storage of a server is copied.
    Keep(Side),
    /// It is restored from the last copy.
    GoBack(Side),
    /// The syncer is killed and another one is started.
    Restart,
    /// A second syncer is started beside the first.
    Double,
    /// The syncer is killed.
    Kill,
}

/// What happens in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// What everything else is drawn from, too: names, ways, pauses.
    pub seed: u64,
    /// In order.
    pub steps: Vec<Step>,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let count = chance.random_range(4..=LONGEST);
        let steps =
            (0..count).map(|_| Step { event: event(&mut chance), pause: pause(&mut chance) }).collect();
        Self { seed, steps }
    }

    /// The same without the steps in this range.
    #[must_use]
    pub fn without(&self, range: std::ops::Range<usize>) -> Self {
        let kept = self.steps.iter().enumerate().filter(|(index, _)| !range.contains(index));
        Self { seed: self.seed, steps: kept.map(|(_, step)| step.clone()).collect() }
    }
}

fn event(chance: &mut StdRng) -> Event {
    match chance.random_range(0..100) {
        0..64 => Event::Act(Action::draw(chance)),
        64..76 => Event::Fault(side(chance), chance.random_range(0..SKIPPED), fault(chance)),
        76..84 => Event::WriteFault(chance.random_range(0..SKIPPED), fault(chance)),
        84..89 => Event::Break(side(chance), broken(chance)),
        89..91 => Event::Compact(side(chance)),
        91..93 => Event::Keep(side(chance)),
        93..95 => Event::GoBack(side(chance)),
        95..97 => Event::Restart,
        97..99 => Event::Double,
        _ => Event::Kill,
    }
}

fn side(chance: &mut StdRng) -> Side {
    if chance.random() { Side::Host } else { Side::Virtual }
}

fn fault(chance: &mut StdRng) -> Fault {
    let code = *[429, 500, 503, 504].choose(chance).unwrap_or(&500);
    match chance.random_range(0..11) {
        0 => Fault::LostBefore,
        1 => Fault::LostAfter,
        2 => Fault::HangsBefore,
        3 => Fault::HangsAfter,
        4 => Fault::Late(Duration::from_millis(chance.random_range(100..20_000))),
        5 => Fault::Refused(code),
        6 => Fault::RefusedAfter(code),
        7 => Fault::DiesBefore,
        8 => Fault::DiesAfter,
        9 => Fault::Stale(chance.random_range(1..20)),
        _ => Fault::Cut,
    }
}

fn broken(chance: &mut StdRng) -> Break {
    let all = [Break::End, Break::Reset, Break::Freeze, Break::Skip, Break::Repeat];
    *all.choose(chance).unwrap_or(&Break::End)
}

/// Mostly none, so that things meet; sometimes long enough for all to settle.
fn pause(chance: &mut StdRng) -> Duration {
    let longest = *[5, 50, 500, 5000].choose(chance).unwrap_or(&5);
    Duration::from_millis(chance.random_range(0..longest))
}
