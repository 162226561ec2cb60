//! The way between the syncer and the two servers: it takes time, loses and repeats, and writes down what passed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::Instant;

use super::invariants::{Watchman, is_renewal};

/// The longest that a request or an answer is under way.
const LONGEST_WAY: Duration = Duration::from_millis(20);

/// How long a server is away whose storage is restored: longer than the first tries to reach it again.
const AWAY: Duration = Duration::from_secs(1);

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The host's.
    Host,
    /// That of the virtual cluster.
    Virtual,
}

/// One of something for each side.
#[derive(Default)]
struct Sides<T> {
    host: T,
    r#virtual: T,
}

impl<T> Sides<T> {
    fn of(&self, side: Side) -> &T {
        match side {
            Side::Host => &self.host,
            Side::Virtual => &self.r#virtual,
        }
    }

    fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Host => &mut self.host,
            Side::Virtual => &mut self.r#virtual,
        }
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the server sees it.
    LostBefore,
    /// The connection breaks after the server has done it.
    LostAfter,
    /// The server never sees it, and nobody says so.
    HangsBefore,
    /// The server does it, and the answer never comes.
    HangsAfter,
    /// It is under way for so long.
    Late(Duration),
    /// The server refuses it with this status.
    Refused(u16),
    /// The server does it, and answers with this status.
    RefusedAfter(u16),
    /// The answer ends in the middle.
    Cut,
    /// A list is answered as it was so many writes ago.
    Stale(u64),
    /// The syncer that sends it dies before the server sees it.
    DiesBefore,
    /// The syncer that sends it dies once the server has done it.
    DiesAfter,
}

/// What goes wrong with the watches that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// They end, as at the end of their time.
    End,
    /// Their connections break.
    Reset,
    /// Nothing comes any more, and nobody says so, until the connection breaks.
    Freeze,
    /// The next frame is lost.
    Skip,
    /// The last frame comes again.
    Repeat,
}

/// What one request of the syncer was, for the story of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// How long after the start of the run.
    pub at: Duration,
    /// Who was asked.
    pub side: Side,
    /// Method and path, with the query of watches and lists.
    pub line: String,
    /// What was written; empty for the rest.
    pub body: String,
    /// What it came to.
    pub end: String,
}

/// One request on its way.
pub(super) struct Passage {
    /// How long after the start of the run.
    pub(super) sent: Duration,
    pub(super) to: Duration,
    pub(super) back: Duration,
    pub(super) fault: Option<Fault>,
}

/// The network of one run.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    /// How the watches of each side were broken last; each time is a change.
    breaks: Arc<Sides<watch::Sender<Break>>>,
    /// Which syncer has died last, by its number.
    dead: Arc<watch::Sender<u64>>,
    started: Instant,
}

struct State {
    chance: StdRng,
    /// What comes over each side's next requests, and how many pass before.
    faults: Sides<VecDeque<(u32, Fault)>>,
    /// The same of the next writes to either side.
    write_faults: VecDeque<(u32, Fault)>,
    /// Until when the server of each side cannot be reached.
    away: Sides<Duration>,
    exchanges: Vec<Exchange>,
    writes: u64,
    watchman: Watchman,
}

impl Network {
    /// A network on which nothing goes wrong yet. `watchman` sees each write before it is done.
    pub fn new(seed: u64, watchman: Watchman) -> Self {
        let state = State {
            chance: StdRng::seed_from_u64(seed),
            faults: Sides::default(),
            write_faults: VecDeque::new(),
            away: Sides::default(),
            exchanges: Vec::new(),
            writes: 0,
            watchman,
        };
        let none = || watch::Sender::new(Break::End);
        let breaks = Sides { host: none(), r#virtual: none() };
        let (state, breaks, dead) = (Arc::new(Mutex::new(state)), Arc::new(breaks), Arc::default());
        Self { state, breaks, dead, started: Instant::now() }
    }

    /// Has a fault come over a request to this side, once `skip` others have passed.
    pub fn plan(&self, side: Side, skip: u32, fault: Fault) {
        self.lock().faults.of_mut(side).push_back((skip, fault));
    }

    /// Has a fault come over a write to either side, once `skip` others have passed.
    pub fn plan_write(&self, skip: u32, fault: Fault) {
        self.lock().write_faults.push_back((skip, fault));
    }

    /// Nothing goes wrong from now on.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.faults, state.write_faults) = (Sides::default(), VecDeque::new());
    }

    /// The number of a syncer that dies of a fault.
    pub async fn death(&self) -> u64 {
        let mut dead = self.dead.subscribe();
        // The channel is ours, and stays open.
        drop(dead.changed().await);
        *dead.borrow()
    }

    /// A request to a side begins: when, how long it takes to go and to come back, and what comes over it.
    pub(super) fn enter(&self, side: Side, is_write: bool) -> Passage {
        let mut state = self.lock();
        let (to, back, fault) = (state.way(), state.way(), state.fault(side, is_write));
        Passage { sent: self.started.elapsed(), to, back, fault }
    }

    /// Whether the connection of a request is broken that was sent at this time: the server has gone away since, or was away then.
    pub(super) fn is_cut(&self, side: Side, sent: Duration) -> bool {
        sent < *self.lock().away.of(side)
    }

    /// A write arrives that was sent at this time.
    pub(super) fn see(&self, side: Side, method: &Method, path: &str, body: &[u8], sent: Duration) {
        let mut state = self.lock();
        state.writes += u64::from(!is_renewal(path, body));
        state.watchman.see(side, method, path, body, sent);
    }

    /// Writes down what a request came to.
    pub(super) fn note(&self, side: Side, line: String, body: String, end: String) {
        let at = self.started.elapsed();
        self.lock().exchanges.push(Exchange { at, side, line, body, end });
    }

    /// A syncer has died of a fault.
    pub(super) fn died(&self, syncer: u64) {
        self.dead.send_replace(syncer);
    }

    /// How the watches of a side are broken from now on.
    pub(super) fn breaks(&self, side: Side) -> watch::Receiver<Break> {
        self.breaks.of(side).subscribe()
    }

    /// Breaks the watches that are open on a side.
    pub fn break_watches(&self, side: Side, how: Break) {
        self.breaks.of(side).send_replace(how);
    }

    /// How many writes have been sent so far, without those that renew tokens.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// What has passed so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.lock().exchanges.clone()
    }

    /// Has the watchman look at the servers.
    pub(super) fn look(&self) {
        let now = self.started.elapsed();
        self.lock().watchman.look(now);
    }

    /// A server goes back to an older state, and is away meanwhile: what the watchman remembers may never have been.
    pub(super) fn go_back(&self, side: Side) {
        let mut state = self.lock();
        let now = self.started.elapsed();
        *state.away.of_mut(side) = now + AWAY;
        state.watchman.forget(now);
        drop(state);
        self.break_watches(side, Break::Reset);
    }

    /// What the watchman has to say.
    pub fn violations(&self) -> Vec<String> {
        self.lock().watchman.violations().to_vec()
    }

    /// The states that writes have met, as digests.
    pub(super) fn states(&self) -> BTreeSet<u64> {
        self.lock().watchman.states().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn way(&mut self) -> Duration {
        self.chance.random_range(Duration::ZERO..LONGEST_WAY)
    }

    fn fault(&mut self, side: Side, is_write: bool) -> Option<Fault> {
        let of_write = if is_write { due(&mut self.write_faults) } else { None };
        due(self.faults.of_mut(side)).or(of_write)
    }
}

/// The first fault, if no other request is to pass before.
fn due(faults: &mut VecDeque<(u32, Fault)>) -> Option<Fault> {
    let (skip, _) = faults.front_mut()?;
    if *skip > 0 {
        *skip -= 1;
        return None;
    }
    faults.pop_front().map(|(_, fault)| fault)
}
