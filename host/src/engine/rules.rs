//! Puts rules in force, and others in their place while the engine runs.
//!
//! What has the same rules as before is not touched. Objects of a kind with other rules are looked at again;
//! their stores and watches stay.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tracing::info;
use weft_core::object::{Key, Kind, VirtualName};

use crate::engine::apply::Writer;
use crate::engine::clean_up::CleanUp;
use crate::engine::kinds::{Difference, Kinds, Pair, Rules};
use crate::engine::queue::Limits;
use crate::engine::state::State;
use crate::engine::store::Store;
use crate::engine::watches::Watches;

/// Objects that are looked at before others get a turn: about a millisecond's work.
const BATCH: usize = 32;
/// Rules compute and do not wait: more threads than this for each processor make nothing faster.
const THREADS_A_PROCESSOR: usize = 2;

/// Keeps the rules in force.
pub(crate) struct Keeper {
    state: Arc<State>,
    writer: Arc<Writer>,
    watches: Watches,
    /// Whether anything may be written.
    sound: signal::Receiver<bool>,
    /// How many pairs are worked on at once.
    workers: usize,
    /// The watches of each kind: they end when they are taken out.
    of_pairs: HashMap<Kind, JoinSet<()>>,
    of_looked_up: HashMap<Kind, JoinSet<()>>,
    clean_ups: HashMap<Kind, JoinSet<()>>,
}

impl Keeper {
    pub(crate) fn new(
        state: Arc<State>,
        writer: Arc<Writer>,
        watches: Watches,
        sound: signal::Receiver<bool>,
        workers: usize,
    ) -> Self {
        let (of_pairs, of_looked_up, clean_ups) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { state, writer, watches, sound, workers, of_pairs, of_looked_up, clean_ups }
    }

    /// Puts rules in force whenever there are others, for ever. Watches end with it.
    pub(crate) async fn keep(mut self, mut rules: signal::Receiver<Arc<Rules>>) {
        while rules.changed().await.is_ok() {
            let next = rules.borrow_and_update().clone();
            let replaced = self.put_in_force(&next);
            for kind in replaced {
                self.look_at_all(&kind).await;
            }
        }
        // Nobody is left who could change them.
        std::future::pending::<()>().await;
    }

    /// Puts `rules` in force at once; gives the kinds whose objects are to be looked at again.
    pub(crate) fn put_in_force(&mut self, rules: &Rules) -> Vec<Kind> {
        let (kinds, difference) = self.state.kinds().under(rules, threads(self.workers));
        self.state.queue.limit(limits(&kinds, self.workers));
        self.state.set_kinds(kinds);
        let kinds = self.state.kinds();
        self.end_watches(&difference);
        for (kind, pair) in &difference.removed {
            self.state.forget_kind(kind);
            if kinds.pair(kind).is_none() && rules.clean_up.contains(kind) {
                self.start_clean_up(kind, pair);
            }
        }
        self.start_watches(&kinds, &difference);
        tell(&difference);
        difference.replaced
    }

    fn end_watches(&mut self, difference: &Difference) {
        for (kind, _) in &difference.removed {
            self.of_pairs.remove(kind);
        }
        for kind in &difference.not_looked_up {
            self.of_looked_up.remove(kind);
        }
        for kind in &difference.added {
            self.clean_ups.remove(kind);
        }
    }

    fn start_watches(&mut self, kinds: &Kinds, difference: &Difference) {
        for kind in &difference.added {
            if let Some(pair) = kinds.pair(kind) {
                self.of_pairs.insert(kind.clone(), self.watches.start_pair(kind, pair));
            }
        }
        for kind in &difference.looked_up {
            if let Some(looked_up) = kinds.looked_up(kind) {
                self.of_looked_up.insert(kind.clone(), self.watches.start_looked_up(kind, looked_up));
            }
        }
    }

    fn start_clean_up(&mut self, kind: &Kind, pair: &Pair) {
        let store: Arc<Store<_>> = Arc::default();
        let mut watch = self.watches.of_host(&pair.mapper.spec().resource, store.clone(), Arc::new(|_| {}));
        watch.may_lack = true;
        let clean_up = CleanUp {
            state: self.state.clone(),
            writer: self.writer.clone(),
            kind: kind.clone(),
            mapper: pair.mapper.clone(),
            store,
            sound: self.sound.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(clean_up.run(watch));
        self.clean_ups.insert(kind.clone(), tasks);
    }

    /// Looks at every object of a kind as its rules of now see it.
    async fn look_at_all(&self, kind: &Kind) {
        let Some(pair) = self.state.pair(kind) else { return };
        for (number, (namespace, name)) in pair.r#virtual.names().into_iter().enumerate() {
            if number % BATCH == BATCH - 1 {
                tokio::task::yield_now().await;
            }
            if let Some(object) = pair.r#virtual.peek(&namespace, &name) {
                let key = Key { kind: kind.clone(), name: VirtualName { namespace, name } };
                self.state.rules_changed(key, &*pair.mapper, &object);
            }
        }
    }
}

/// How many threads the rules of one kind get that take long.
fn threads(workers: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (workers / 2).min(processors * THREADS_A_PROCESSOR).max(1)
}

/// Rules that take long leave workers to others, and to each other.
fn limits(kinds: &Kinds, workers: usize) -> Limits {
    let lengthy = kinds.pairs().filter(|(_, pair)| pair.mapper.spec().may_block);
    let each = (workers / 2).max(1);
    Limits {
        kinds: lengthy.map(|(kind, _)| (kind.clone(), each)).collect(),
        together: (workers - workers / 4).max(1),
    }
}

fn tell(difference: &Difference) {
    let removed: Vec<&Kind> = difference.removed.iter().map(|(kind, _)| kind).collect();
    info!(
        added = ?difference.added, replaced = ?difference.replaced, ?removed,
        looked_up = ?difference.looked_up, "rules are in force"
    );
}
