//! Applies rules, and replaces them while the engine runs.
//!
//! A kind with the same rules as before is not touched. Objects of a kind with other rules are requeued; their stores
//! and watches stay.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch as signal;
use tracing::{info, warn};
use weft_core::keys::CLUSTER_LABEL;
use weft_core::object::{Key, Kind, VirtualName};

use crate::engine::apply::Writer;
use crate::engine::cache::kinds::{Difference, Kinds, SyncedKind};
use crate::engine::cache::state::State;
use crate::engine::cache::store::Store;
use crate::engine::queue::Limits;
use crate::engine::supervisor::Tasks;
use crate::engine::upkeep::clean_up::CleanUp;
use crate::engine::watches::Watches;
use crate::registry::Rules;

/// Objects that are requeued before others get a turn: about a millisecond's work.
const BATCH: usize = 32;
/// Rules compute and do not wait: more threads than this for each processor make nothing faster.
const THREADS_A_PROCESSOR: usize = 2;

/// Applies rules: starts and stops the watches and clean-ups that follow from them.
pub(crate) struct Reconfigurer {
    state: Arc<State>,
    writer: Arc<Writer>,
    watches: Watches,
    /// Whether anything may be written.
    ready: signal::Receiver<bool>,
    /// How many pairs are worked on at once.
    workers: usize,
    /// The watches of each kind: they end when they are removed here.
    of_synced: HashMap<Kind, Tasks>,
    of_looked_up: HashMap<Kind, Tasks>,
    clean_ups: HashMap<Kind, Tasks>,
}

impl Reconfigurer {
    pub(crate) fn new(
        state: Arc<State>,
        writer: Arc<Writer>,
        watches: Watches,
        ready: signal::Receiver<bool>,
        workers: usize,
    ) -> Self {
        let (of_synced, of_looked_up, clean_ups) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { state, writer, watches, ready, workers, of_synced, of_looked_up, clean_ups }
    }

    /// Applies rules whenever they change, for ever. Watches end with it.
    pub(crate) async fn keep(mut self, mut rules: signal::Receiver<Arc<Rules>>) {
        while rules.changed().await.is_ok() {
            let next = rules.borrow_and_update().clone();
            let replaced = self.apply(&next);
            for kind in replaced {
                self.requeue_all(&kind).await;
            }
        }
        // Nobody is left who could change them.
        std::future::pending::<()>().await;
    }

    /// Applies `rules` at once; returns the kinds whose objects are to be requeued.
    pub(crate) fn apply(&mut self, rules: &Rules) -> Vec<Kind> {
        let (kinds, difference) = self.state.kinds().under(rules, threads(self.workers));
        self.state.queue.limit(limits(&kinds, self.workers));
        self.state.set_kinds(kinds);
        let kinds = self.state.kinds();
        self.end_watches(&difference);
        for (kind, synced) in &difference.removed {
            self.state.forget_kind(kind);
            if kinds.synced(kind).is_some() {
                continue;
            }
            if rules.clean_up.contains(kind) {
                self.start_clean_up(kind, synced);
            } else {
                self.log_left(kind, synced);
            }
        }
        self.start_watches(&kinds, &difference);
        log(&difference);
        difference.replaced
    }

    fn log_left(&self, kind: &Kind, synced: &SyncedKind) {
        let Some((left, remedy)) = self.left(kind, synced) else { return };
        warn!(
            %kind, left, remedy,
            "the kind is no longer synced, and its host objects stay as they are; with `onRemoval: delete` in its entry, a \
             plugin takes them along when it is removed"
        );
    }

    /// How many objects of a kind that is no longer synced stay on the host, if any do, and the command that removes them.
    fn left(&self, kind: &Kind, synced: &SyncedKind) -> Option<(usize, String)> {
        let (names, mut left) = (&self.state.names, 0_usize);
        synced.host.each(names.namespace(), &mut |object| {
            left += usize::from(self.state.key_of(object, kind).is_some());
        });
        let resource = &synced.mapper.spec().resource;
        let dot = if resource.group.is_empty() { "" } else { "." };
        let remedy = format!(
            "kubectl delete {}{dot}{} --namespace {} --selector {CLUSTER_LABEL}={}",
            resource.plural,
            resource.group,
            names.namespace(),
            names.cluster()
        );
        (left > 0).then_some((left, remedy))
    }

    fn end_watches(&mut self, difference: &Difference) {
        for (kind, _) in &difference.removed {
            self.of_synced.remove(kind);
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
            if let Some(synced) = kinds.synced(kind) {
                self.of_synced.insert(kind.clone(), self.watches.start_synced(kind, synced));
            }
        }
        for kind in &difference.looked_up {
            if let Some(looked_up) = kinds.looked_up(kind) {
                self.of_looked_up.insert(kind.clone(), self.watches.start_looked_up(kind, looked_up));
            }
        }
    }

    fn start_clean_up(&mut self, kind: &Kind, synced: &SyncedKind) {
        let store: Arc<Store<_>> = Arc::default();
        let mut watch = self.watches.of_host(&synced.mapper.spec().resource, store.clone(), Arc::new(|_| {}));
        watch.may_lack = true;
        let clean_up = CleanUp {
            state: self.state.clone(),
            writer: self.writer.clone(),
            kind: kind.clone(),
            mapper: synced.mapper.clone(),
            store,
            ready: self.ready.clone(),
        };
        let mut tasks = self.watches.supervisor.tasks();
        tasks.spawn(clean_up.run(watch));
        self.clean_ups.insert(kind.clone(), tasks);
    }

    /// Requeues every object of a kind, whose rules have changed.
    async fn requeue_all(&self, kind: &Kind) {
        let Some(synced) = self.state.synced(kind) else { return };
        for (number, (namespace, name)) in synced.r#virtual.names().into_iter().enumerate() {
            if number % BATCH == BATCH - 1 {
                tokio::task::yield_now().await;
            }
            if let Some(object) = synced.r#virtual.peek(&namespace, &name) {
                let key = Key { kind: kind.clone(), name: VirtualName { namespace, name } };
                self.state.rules_changed(key, &*synced.mapper, &object);
            }
        }
    }
}

/// How many threads the rules of one kind get that take long.
fn threads(workers: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (workers / 2).min(processors * THREADS_A_PROCESSOR).max(1)
}

/// What takes long leaves workers to others: a namespace to two more that hang, a kind to one more, a kind in a namespace to
/// the others there (with six workers or more), and rules to each other.
fn limits(kinds: &Kinds, workers: usize) -> Limits {
    let lengthy = kinds.each_synced().filter(|(_, synced)| synced.mapper.spec().may_block);
    let each = (workers / 2).max(1);
    let namespace = (workers / 3).max(1);
    Limits {
        namespace,
        lane: (namespace * 2 / 3).max(1),
        kind: (workers - workers / 3).max(1),
        kinds: lengthy.map(|(kind, _)| (kind.clone(), each)).collect(),
        together: (workers - workers / 4).max(1),
    }
}

fn log(difference: &Difference) {
    let removed: Vec<&Kind> = difference.removed.iter().map(|(kind, _)| kind).collect();
    info!(
        added = ?difference.added, replaced = ?difference.replaced, ?removed,
        looked_up = ?difference.looked_up, "rules are applied"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use weft_core::mapper::Mapper;
    use weft_core::object::ResourceType;
    use weft_core::spec::KindSpec;

    use crate::engine::testing::{Bench, Plain, host_object, key, service, settle, widgets};

    /// Rules for a kind, which look up other kinds.
    fn mapper(kind: &'static str, looks_up: &[&'static str]) -> Arc<dyn Mapper> {
        let resource = |kind| ResourceType::core(kind, "plural");
        let looks_up = looks_up.iter().map(|kind| resource(kind)).collect();
        Arc::new(Plain(KindSpec { looks_up, ..KindSpec::new(resource(kind)) }))
    }

    fn rules(mappers: &[&Arc<dyn Mapper>], clean_up: &[&str]) -> Rules {
        let clean_up: BTreeSet<Kind> = clean_up.iter().map(|kind| Kind::new(kind)).collect();
        Rules { mappers: mappers.iter().map(|mapper| Arc::clone(mapper)).collect(), clean_up }
    }

    fn reconfigurer(bench: &Bench) -> Reconfigurer {
        let watches = bench.watches();
        let (_, ready) = signal::channel(true);
        Reconfigurer::new(bench.state.clone(), bench.writer.clone(), watches, ready, 4)
    }

    /// The kinds with watches of pairs, with a watch of what is looked up, and with a clean-up.
    fn running(reconfigurer: &Reconfigurer) -> [String; 3] {
        let names = |tasks: &HashMap<Kind, Tasks>| {
            let mut names: Vec<&str> = tasks.keys().map(Kind::short).collect();
            names.sort_unstable();
            names.join(" ")
        };
        [names(&reconfigurer.of_synced), names(&reconfigurer.of_looked_up), names(&reconfigurer.clean_ups)]
    }

    #[tokio::test]
    async fn watches_and_clean_ups_start_and_stop_with_the_rules_of_their_kind() {
        let bench = Bench::echoing();
        bench.state.set_kinds(Kinds::default());
        let mut reconfigurer = reconfigurer(&bench);
        let (one, two) = (mapper("One", &["Three"]), mapper("Two", &[]));
        reconfigurer.apply(&rules(&[&one, &two], &[]));
        assert_eq!(running(&reconfigurer), ["One Two", "Three", ""]);
        reconfigurer.apply(&rules(&[&one], &["v1/Two"]));
        assert_eq!(running(&reconfigurer), ["One", "Three", "Two"], "the stale objects of Two are deleted");
        reconfigurer.apply(&rules(&[&two], &[]));
        assert_eq!(
            running(&reconfigurer),
            ["Two", "", ""],
            "One is to be left as it is, Two is synced again"
        );
        assert!(bench.state.synced(&Kind::new("v1/One")).is_none());
    }

    #[tokio::test]
    async fn a_kind_with_the_same_rules_keeps_its_watches_and_one_with_others_is_requeued() {
        let bench = Bench::echoing();
        bench.state.set_kinds(Kinds::default());
        let mut reconfigurer = reconfigurer(&bench);
        let (one, two) = (mapper("One", &[]), mapper("Two", &[]));
        assert_eq!(reconfigurer.apply(&rules(&[&one, &two], &[])), Vec::<Kind>::new(), "all are new");
        let stores = |kind| bench.state.synced(&Kind::new(kind)).unwrap().host.clone();
        let before = [stores("v1/One"), stores("v1/Two")];
        let replaced = reconfigurer.apply(&rules(&[&one, &mapper("Two", &[])], &["v1/One", "v1/Two"]));
        assert_eq!(replaced, [Kind::new("v1/Two")]);
        assert!(Arc::ptr_eq(&before[0], &stores("v1/One")) && Arc::ptr_eq(&before[1], &stores("v1/Two")));
        assert_eq!(
            running(&reconfigurer),
            ["One Two", "", ""],
            "nothing is cleaned up of a kind that is synced"
        );
    }

    #[tokio::test]
    async fn what_stays_of_a_kind_that_is_removed_is_counted_and_the_command_that_removes_it_is_said() {
        let bench = Bench::echoing();
        let mut widget = host_object("example.org/v1/Widget", "shop", "web", "uid-1");
        let foreign = serde_json::json!({"metadata": {"namespace": "team-a", "name": "foreign", "uid": "u"}});
        let widgets: Arc<dyn Mapper> = Arc::new(Plain(KindSpec::new(widgets())));
        let mut reconfigurer = reconfigurer(&bench);
        reconfigurer.apply(&rules(&[&widgets, &mapper("Two", &[])], &[]));
        let (kind, kinds) = (Kind::new("example.org/v1/Widget"), bench.state.kinds());
        let synced = kinds.synced(&kind).unwrap();
        bench.put_host(kind.as_str(), foreign);
        assert_eq!(reconfigurer.left(&kind, synced), None, "nothing of this virtual cluster's");
        bench.put_host(kind.as_str(), widget.clone());
        widget["metadata"]["name"] = "moved-elsewhere".into();
        bench.put_host(kind.as_str(), widget);
        let remedy =
            "kubectl delete widgets.example.org --namespace team-a --selector weft.dev/cluster=vc".to_owned();
        assert_eq!(reconfigurer.left(&kind, synced), Some((1, remedy)));
        let two = Kind::new("v1/Two");
        bench.put_host(two.as_str(), host_object(two.as_str(), "shop", "web", "uid-1"));
        let (_, remedy) = reconfigurer.left(&two, kinds.synced(&two).unwrap()).unwrap();
        assert!(
            remedy.starts_with("kubectl delete plural --namespace"),
            "the core group has no name: {remedy}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn every_object_of_a_kind_with_other_rules_comes_out_of_the_queue() {
        let bench = Bench::echoing();
        bench.put_virtual("v1/Service", service("web", "5"));
        let (sender, receiver) = signal::channel(Arc::new(Rules::default()));
        let running = tokio::spawn(reconfigurer(&bench).keep(receiver));
        let replaced = Arc::new(Plain(KindSpec::core("Service", "services"))) as Arc<dyn Mapper>;
        sender.send_replace(Arc::new(rules(&[&replaced], &[])));
        settle().await;
        assert_eq!(bench.state.queue.next().await, Some(key("v1/Service", "shop", "web")));
        drop(sender);
        settle().await;
        assert!(!running.is_finished(), "the watches go on without anybody who could change the rules");
    }

    #[test]
    fn rules_that_may_block_leave_workers_to_others() {
        let blocking: Arc<dyn Mapper> =
            Arc::new(Plain(KindSpec { may_block: true, ..KindSpec::core("Slow", "slow") }));
        let (kinds, _) = Kinds::default().under(&rules(&[&blocking, &mapper("One", &[])], &[]), 1);
        let limits = limits(&kinds, 16);
        assert_eq!((limits.kinds.len(), limits.kinds.get(&Kind::new("v1/Slow"))), (1, Some(&8)));
        assert_eq!((limits.together, limits.namespace, limits.kind, limits.lane), (12, 5, 11, 3));
        assert!(threads(1) >= 1 && threads(64) <= 32);
    }
}
