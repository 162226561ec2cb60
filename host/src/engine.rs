//! The sync engine: watches both clusters, queues keys, and lets the syncer work on them.
//!
//! ```text
//! watch (virtual) ─┐                                   ┌─ apply: virtual API
//!                  ├─► queue ─► syncer: see, decide ───┤
//! watch (host)   ──┘                                   └─ apply: host API
//! ```

mod ambient;
mod apply;
mod cache;
mod companions;
mod events;
mod health;
mod informer;
mod parts;
mod pods;
mod queue;
mod reconcile;
mod resources;
mod supervisor;
#[cfg(test)]
pub(crate) mod testing;
mod upkeep;
mod watches;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as signal;
use tracing::warn;
use weft_core::object::{Host, Virtual};

use crate::api::{Api, object_path};
use crate::registry::Rules;
pub use ambient::{Ambient, WallClock};
use apply::Writer;
use apply::gate::{Gate, Ready};
use cache::state::State;
use companions::environments::Environments;
pub use companions::nodes::Kubelet;
use companions::nodes::Nodes;
#[cfg(test)]
pub(crate) use companions::nodes::metrics_path;
use companions::stale_endpoints::StaleEndpoints;
use companions::tokens::{Tokens, clock};
use companions::volumes::Volumes;
use companions::{Companion, Companions};
use events::plugins::PluginEvents;
use events::recorder::EventRecorder;
pub use health::Health;
use informer::failures::Failures;
use informer::heartbeat::Heartbeat;
use informer::identity::{Guards, IdentityGuard, OF_VIRTUAL};
pub use parts::Parts;
pub use pods::{HostPod, NoHostPod, NoNode, PodOfNode, Pods};
use reconcile::fight::Referee;
use reconcile::lasting::Lasting;
use reconcile::observe::Observer;
use reconcile::pace::Pace;
use reconcile::publish::Publisher;
use reconcile::steps::Steps;
use reconcile::syncer::Syncer;
use reconcile::worker::work;
use resources::services;
use supervisor::{Supervisor, Tasks};
use upkeep::addons::AddonApplier;
use upkeep::bootstrap::Bootstrap;
use upkeep::crds::CrdInstaller;
use upkeep::placed::PlacedRecord;
use upkeep::reconfigure::Reconfigurer;
use watches::Watches;
pub use watches::host_nodes::Mirror;

/// How often objects in the caches that were not used lately are packed.
const PACK: Duration = Duration::from_secs(3);
/// How long writes in flight may take once the engine stops. A server that hangs must not hold up the stop; what it was
/// sent is found, or sent again, at the next start.
const DRAIN: Duration = Duration::from_secs(1);

/// The running engine.
pub struct Engine {
    state: Arc<State>,
    /// What a request for a host pod passes.
    gate: Arc<Gate>,
    workers: Tasks,
    /// Ends with the engine.
    tasks: Tasks,
    supervisor: Supervisor,
    health: Health,
}

/// One writer behind each [`Gate`].
#[derive(Clone)]
struct Writers {
    open: Arc<Writer>,
    ready: Arc<Writer>,
    cached: Arc<Writer>,
}

/// What every part of the engine works with.
#[derive(Clone)]
struct Shared {
    state: Arc<State>,
    writers: Writers,
    host: Api<Host>,
    r#virtual: Api<Virtual>,
    guards: Guards,
    failures: Arc<Failures>,
    recorder: EventRecorder,
    supervisor: Supervisor,
    /// Whether anything may be written.
    ready: signal::Receiver<bool>,
}

impl Engine {
    /// Starts; what is not reachable is tried again for ever.
    pub fn start(parts: Parts) -> Self {
        let Parts { host, r#virtual, names, rules, plugin_events, addons, facts, service, mirror, .. } =
            parts;
        let count = parts.workers;
        let (ready_sender, ready) = signal::channel(false);
        let state = Arc::new(State::new(names, facts, parts.ambient));
        let of_host = IdentityGuard::of_host(host.clone(), state.names.namespace(), &service);
        let of_virtual = IdentityGuard::of_virtual(r#virtual.clone());
        let guards = Guards { host: Arc::new(of_host), r#virtual: Arc::new(of_virtual) };
        let gate = Ready { guards: guards.clone(), ready: ready.clone() };
        let writer =
            |gate| Arc::new(Writer::new(host.clone(), r#virtual.clone(), state.names.namespace(), gate));
        let writers = Writers {
            open: writer(Gate::Open),
            ready: writer(Gate::Ready(gate.clone())),
            cached: writer(Gate::Cached(gate.clone(), state.clone())),
        };
        let (recorder, recording) = EventRecorder::new(writers.ready.clone(), state.ambient.clone());
        let (supervisor, failures) = (Supervisor::default(), Arc::default());
        let shared = Shared {
            state,
            writers,
            host,
            r#virtual,
            guards,
            failures,
            recorder,
            supervisor: supervisor.clone(),
            ready,
        };

        let mut tasks = supervisor.tasks();
        tasks.spawn(recording);
        let object_of_host = object_path(&services(), shared.state.names.namespace(), &service, None);
        tasks.spawn(Heartbeat::new("host", &shared.host, object_of_host, &shared.failures).run());
        tasks.spawn(
            Heartbeat::new("virtual", &shared.r#virtual, OF_VIRTUAL.to_owned(), &shared.failures).run(),
        );
        tasks.spawn(shared.plugin_events().run(plugin_events));
        shared.start_watches(&mut tasks, &service, rules.clone(), (count, mirror.as_ref()));
        tasks.spawn(shared.crd_installer().keep(rules, shared.ready.clone()));
        let applier = AddonApplier::new(shared.r#virtual.clone(), shared.writers.ready.clone());
        tasks.spawn(applier.keep(addons, shared.ready.clone()));
        let nodes = shared.nodes(parts.kubelet, mirror.is_some());
        tasks.spawn(nodes.clone().sweep_forever());
        tasks.spawn(nodes.clone().follow_forever());
        tasks.spawn(Volumes::sweep_forever(shared.state.clone(), shared.writers.cached.clone()));
        tasks.spawn(pack_forever(shared.state.clone()));
        tasks.spawn(shared.placed_record(service.clone()).keep());
        tasks.spawn(shared.bootstrap(service).run_forever(ready_sender));

        let (state, writer) = (shared.state.clone(), shared.writers.cached.clone());
        let tokens = Arc::new(Tokens::new(state, writer, shared.host.clone()));
        tasks.spawn(clock::watch_forever(shared.state.clone(), shared.state.ambient.wall()));
        let syncer = Arc::new(shared.syncer(nodes, tokens));
        let mut workers = supervisor.tasks();
        for _ in 0..count {
            workers.spawn(work(syncer.clone(), shared.ready.clone()));
        }
        let health = Health::new(shared.state.clone(), shared.failures, shared.ready);
        Self { health, state: shared.state, gate: Arc::new(Gate::Ready(gate)), workers, tasks, supervisor }
    }

    /// Returns whether the engine does its work, now and later.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Returns which host pods stand for virtual ones, now and later.
    pub fn pods(&self) -> Pods {
        Pods::new(self.state.clone(), self.gate.clone())
    }

    /// Returns once a part of the engine has panicked: nothing does its work any more.
    pub async fn panicked(&self) {
        self.supervisor.panicked().await;
    }

    /// Ends: writes in flight are finished, nothing new is begun.
    pub async fn stop(mut self) {
        self.state.queue.close();
        let drained = async { self.workers.ended().await };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            warn!("some writes were not answered in time; their pairs are reconciled at the next start");
        }
        self.tasks.shutdown().await;
    }
}

impl Shared {
    /// Starts the watches of the first rules, and follows the rules as they change.
    fn start_watches(
        &self,
        tasks: &mut Tasks,
        service: &str,
        mut rules: signal::Receiver<Arc<Rules>>,
        (workers, mirror): (usize, Option<&Mirror>),
    ) {
        let watches = Watches {
            state: self.state.clone(),
            host: self.host.clone(),
            r#virtual: self.r#virtual.clone(),
            guards: self.guards.clone(),
            supervisor: self.supervisor.clone(),
            failures: self.failures.clone(),
            recorder: self.recorder.clone(),
        };
        watches.start(&self.writers.cached, service, tasks);
        if let Some(mirror) = mirror {
            watches.start_host_nodes(mirror, tasks);
        }
        let (state, writer) = (self.state.clone(), self.writers.cached.clone());
        let mut reconfigurer = Reconfigurer::new(state, writer, watches, self.ready.clone(), workers);
        let first = rules.borrow_and_update().clone();
        reconfigurer.apply(&first);
        tasks.spawn(reconfigurer.keep(rules));
    }

    fn nodes(&self, kubelet: Option<Kubelet>, mirrors: bool) -> Arc<Nodes> {
        let (state, writer, recorder) = (&self.state, &self.writers.cached, &self.recorder);
        Arc::new(Nodes::new(state.clone(), writer.clone(), kubelet, mirrors, recorder.clone()))
    }

    fn plugin_events(&self) -> PluginEvents {
        PluginEvents { state: self.state.clone(), writer: self.writers.open.clone() }
    }

    fn crd_installer(&self) -> CrdInstaller {
        CrdInstaller {
            host: self.host.clone(),
            r#virtual: self.r#virtual.clone(),
            writer: self.writers.ready.clone(),
            recorder: self.recorder.clone(),
            published: HashMap::new(),
        }
    }

    fn bootstrap(&self, service: String) -> Bootstrap {
        Bootstrap {
            state: self.state.clone(),
            writer: self.writers.open.clone(),
            host: self.host.clone(),
            r#virtual: self.r#virtual.clone(),
            guards: self.guards.clone(),
            service,
        }
    }

    fn placed_record(&self, service: String) -> PlacedRecord {
        PlacedRecord {
            state: self.state.clone(),
            writer: self.writers.open.clone(),
            host: self.host.clone(),
            service,
            ready: self.ready.clone(),
        }
    }

    fn syncer(&self, nodes: Arc<Nodes>, tokens: Arc<Tokens>) -> Syncer {
        let (state, writer) = (&self.state, &self.writers.cached);
        let companions: Vec<Arc<dyn Companion>> = vec![
            Arc::new(Environments::new(state.clone(), writer.clone(), self.host.clone())),
            nodes,
            tokens,
            Arc::new(Volumes::new(state.clone(), writer.clone())),
            Arc::new(StaleEndpoints::new(state.clone(), writer.clone())),
        ];
        let steps = Steps {
            state: state.clone(),
            writer: writer.clone(),
            host: self.host.clone(),
            companions: Companions::new(companions),
        };
        Syncer {
            state: state.clone(),
            observer: Observer {
                state: state.clone(),
                host: self.host.clone(),
                r#virtual: self.r#virtual.clone(),
            },
            publisher: Publisher::new(state.clone(), self.recorder.clone()),
            steps,
            pace: Pace::default(),
            referee: Referee {
                state: state.clone(),
                host: self.host.clone(),
                r#virtual: self.r#virtual.clone(),
            },
            lasting: Lasting::default(),
        }
    }
}

async fn pack_forever(state: Arc<State>) {
    loop {
        tokio::time::sleep(PACK).await;
        state.kinds().pack_older();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::sync::mpsc;
    use weft_core::kinds;

    use crate::api::scripted::{Answer, Asked};
    use testing::Bench;

    /// How long a stop may take, whatever the servers do.
    const STOP: Duration = Duration::from_secs(2);

    /// An engine between two servers, and what it follows.
    fn engine(bench: &Bench) -> (Engine, impl Sized) {
        let rules = Rules { mappers: kinds::builtin(), ..Rules::default() };
        let (rules_sender, rules) = signal::channel(Arc::new(rules));
        let (events_sender, plugin_events) = mpsc::channel(1);
        let (addons_sender, addons) = signal::channel(Arc::default());
        let engine = Engine::start(Parts {
            host: bench.host.clone(),
            r#virtual: bench.r#virtual.clone(),
            names: bench.state.names.clone(),
            rules,
            plugin_events,
            addons,
            facts: (*bench.state.facts()).clone(),
            service: "vc".to_owned(),
            workers: 2,
            kubelet: None,
            ambient: Ambient::default(),
            mirror: None,
        });
        (engine, (rules_sender, events_sender, addons_sender))
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_stops_in_time_while_its_servers_are_silent_and_says_which_they_are() {
        let bench = Bench::new(|_: &Asked| Answer::Silence, |_: &Asked| Answer::Silence);
        let (engine, _senders) = engine(&bench);
        tokio::time::sleep(Duration::from_secs(15)).await;
        let problem = engine.health().problem().unwrap_or_default();
        assert!(
            problem.contains("the host API server") && problem.contains("the virtual API server"),
            "{problem}"
        );
        let started = tokio::time::Instant::now();
        engine.stop().await;
        assert!(started.elapsed() <= STOP, "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_without_servers_writes_nothing_says_why_it_is_not_ready_and_ends() {
        let refused = |_: &Asked| Answer::failure(404, "NotFound");
        let bench = Bench::new(refused, refused);
        let (engine, _senders) = engine(&bench);
        tokio::time::sleep(Duration::from_secs(6)).await;
        let problem = engine.health().problem().unwrap_or_default();
        assert!(problem.contains("Service or identity"), "{problem}");
        engine.stop().await;
        let all = bench.host_requests.lines().into_iter().chain(bench.virtual_requests.lines());
        let writes: Vec<String> = all.filter(|line| !line.starts_with("GET ")).collect();
        assert_eq!(writes, Vec::<String>::new());
    }
}
