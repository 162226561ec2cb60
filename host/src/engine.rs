//! The sync engine: watches both clusters, queues keys, and lets the syncer work on them.
//!
//! ```text
//! watch (virtual) ─┐                                   ┌─ apply: virtual API
//!                  ├─► queue ─► syncer: see, decide ───┤
//! watch (host)   ──┘                                   └─ apply: host API
//! ```

mod announcements;
mod apply;
mod clean_up;
mod decide;
mod definitions;
mod events;
mod foundation;
mod guard;
mod index;
mod kinds;
mod leftovers;
mod nodes;
mod packed;
mod placement;
mod queue;
mod report;
mod rules;
mod state;
mod store;
mod syncer;
mod telling;
mod tokens;
mod view;
mod volumes;
mod watch;
mod watches;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;
use tracing::{info, warn};
use weft_core::context::Facts;
use weft_core::names::Names;
use weft_core::object::{Host, Virtual};

use crate::api::Api;
use crate::news::News;
use announcements::Announcements;
use apply::Writer;
use definitions::Definitions;
use foundation::Foundation;
use guard::Guard;
pub use kinds::Rules;
use leftovers::Leftovers;
use nodes::Nodes;
use queue::Outcome;
use report::Reporter;
use rules::Keeper;
use state::State;
use syncer::Syncer;
use telling::Telling;
use tokens::Tokens;
use volumes::Volumes;
use watches::Watches;

/// How often what nobody looks at is packed.
const PACK: Duration = Duration::from_secs(3);
/// Between two tries to lay the foundation.
const FOUNDATION_RETRY: Duration = Duration::from_secs(2);
/// How long work in hand may take once the end is asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// What the engine is made of.
pub struct Parts {
    /// The host's API server.
    pub host: Api<Host>,
    /// The virtual API server.
    pub r#virtual: Api<Virtual>,
    /// How names are made.
    pub names: Names,
    /// The rules of each kind, which may change at any time.
    pub rules: signal::Receiver<Arc<Rules>>,
    /// What happens to those rules that can change.
    pub news: mpsc::Receiver<News>,
    /// What is known of both clusters so far.
    pub facts: Facts,
    /// Host Service of the virtual API server.
    pub service: String,
    /// How many pairs are worked on at once.
    pub workers: usize,
}

/// The running engine.
pub struct Engine {
    state: Arc<State>,
    workers: JoinSet<()>,
    /// Ends with the engine.
    tasks: JoinSet<()>,
    health: Health,
}

/// Whether the engine does its work; cheap to clone.
#[derive(Clone)]
pub struct Health {
    state: Arc<State>,
    sound: signal::Receiver<bool>,
}

impl Health {
    /// Why the syncer is not ready; none when it is.
    pub fn problem(&self) -> Option<&'static str> {
        if !*self.sound.borrow() {
            return Some("the virtual cluster's Service or identity is not as it should be; see the log");
        }
        (!self.state.is_synced()).then_some("the first lists are not complete")
    }
}

impl Engine {
    /// Starts; what is not reachable is tried again for ever.
    pub fn start(parts: Parts) -> Self {
        let Parts { host, r#virtual, names, mut rules, news, facts, service, workers: count } = parts;
        let writer = Arc::new(Writer::new(host.clone(), r#virtual.clone(), names.namespace()));
        let state = Arc::new(State::new(names, facts));
        let (reporter, reports) = Reporter::new(writer.clone());
        let (sound_sender, sound) = signal::channel(false);

        let mut tasks = JoinSet::new();
        tasks.spawn(reports);
        tasks.spawn(Announcements { state: state.clone(), writer: writer.clone() }.run(news));
        let guard = Arc::new(Guard::new(r#virtual.clone()));
        let watches = Watches {
            state: state.clone(),
            host: host.clone(),
            r#virtual: r#virtual.clone(),
            guard: guard.clone(),
        };
        watches.start(&writer, &mut tasks);
        let mut keeper = Keeper::new(state.clone(), writer.clone(), watches, sound.clone(), count);
        let first = rules.borrow_and_update().clone();
        keeper.put_in_force(&first);
        tasks.spawn(keeper.keep(rules.clone()));
        let definitions = Definitions {
            host: host.clone(),
            r#virtual: r#virtual.clone(),
            writer: writer.clone(),
            reporter: reporter.clone(),
            told: HashMap::new(),
        };
        tasks.spawn(definitions.keep(rules, sound.clone()));
        let nodes = Arc::new(Nodes::new(state.clone(), writer.clone()));
        tasks.spawn(nodes.clone().sweep_forever());
        tasks.spawn(Volumes::sweep_forever(state.clone(), writer.clone()));
        tasks.spawn(pack_forever(state.clone()));
        let foundation = Foundation {
            state: state.clone(),
            writer: writer.clone(),
            host: host.clone(),
            r#virtual,
            guard,
            service,
        };
        tasks.spawn(keep_foundation(foundation, sound_sender));

        let syncer = Arc::new(Syncer {
            leftovers: Leftovers::new(state.clone(), writer.clone()),
            nodes,
            tokens: Tokens::new(state.clone(), writer.clone()),
            volumes: Volumes::new(state.clone(), writer.clone()),
            state: state.clone(),
            writer,
            host,
            telling: Telling::new(state.clone(), reporter),
        });
        let mut workers = JoinSet::new();
        for _ in 0..count {
            workers.spawn(work(syncer.clone(), sound.clone()));
        }
        Self { health: Health { state: state.clone(), sound }, state, workers, tasks }
    }

    /// Tells whether the engine does its work.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Ends: what is in hand is finished, nothing new is begun.
    pub async fn stop(mut self) {
        self.state.queue.close();
        let drained = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            warn!("some writes were not answered in time; they will be looked at again at the next start");
        }
        self.tasks.shutdown().await;
    }
}

/// Works on one key after the other, once every cache is full and while the foundation stands.
async fn work(syncer: Arc<Syncer>, mut sound: signal::Receiver<bool>) {
    while !syncer.state.is_synced() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while sound.wait_for(|sound| *sound).await.is_ok() {
        let Some(key) = syncer.state.queue.next().await else { return };
        let outcome =
            if *sound.borrow() { syncer.reconcile(&key).await } else { Outcome::Again(FOUNDATION_RETRY) };
        syncer.state.queue.done(&key, outcome);
    }
}

async fn keep_foundation(foundation: Foundation, sound: signal::Sender<bool>) {
    while let Err(error) = foundation.lay().await {
        warn!(error = &error as &dyn std::error::Error, "cannot begin to sync; trying again");
        tokio::time::sleep(FOUNDATION_RETRY).await;
    }
    info!("the virtual cluster's foundation stands");
    sound.send_replace(true);
    foundation.keep(sound).await;
}

async fn pack_forever(state: Arc<State>) {
    loop {
        tokio::time::sleep(PACK).await;
        state.kinds().pack_older();
    }
}
