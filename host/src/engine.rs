//! The sync engine: watches both clusters, queues keys, and lets the syncer work on them.
//!
//! ```text
//! watch (virtual) ─┐                                   ┌─ apply: virtual API
//!                  ├─► queue ─► syncer: see, decide ───┤
//! watch (host)   ──┘                                   └─ apply: host API
//! ```

mod apply;
mod events;
mod foundation;
mod guard;
mod index;
mod leftovers;
mod nodes;
mod packed;
mod placement;
mod queue;
mod report;
mod state;
mod store;
mod syncer;
mod tokens;
mod volumes;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;
use tracing::{info, warn};
use weft_core::context::Facts;
use weft_core::mapper::Mapper;
use weft_core::names::{CLUSTER_LABEL, Names};
use weft_core::object::{Host, Kind, ResourceType, Virtual};

use crate::api::Api;
use apply::Writer;
use events::Events;
use foundation::Foundation;
use guard::Guard;
use leftovers::Leftovers;
use nodes::Nodes;
use queue::Outcome;
use report::Reporter;
use state::State;
use store::Store;
use syncer::Syncer;
use tokens::Tokens;
use volumes::Volumes;
use watch::{Changed, Watch};

/// Pods are what people wait for: a watch of them that died is noticed soonest.
const POD_WATCH: Duration = Duration::from_secs(10);
/// How long other watches last.
const OTHER_WATCH: Duration = Duration::from_secs(55);
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
    /// The rules of each kind.
    pub mappers: Vec<Arc<dyn Mapper>>,
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
        let Parts { host, r#virtual, names, mappers, facts, service, workers: count } = parts;
        let writer = Arc::new(Writer::new(host.clone(), r#virtual.clone(), names.namespace()));
        let state = Arc::new(State::new(names, mappers, facts));
        let (reporter, reports) = Reporter::new(writer.clone());
        let (sound_sender, sound) = signal::channel(false);

        let mut tasks = JoinSet::new();
        tasks.spawn(reports);
        let guard = Arc::new(Guard::new(r#virtual.clone()));
        Watches { state: &state, host: &host, r#virtual: &r#virtual, guard: &guard }
            .start(&writer, &mut tasks);
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
            reporter,
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
        for pair in state.kinds.values() {
            pair.r#virtual.pack_older();
            pair.host.pack_older();
        }
    }
}

/// What every watch needs.
struct Watches<'a> {
    state: &'a Arc<State>,
    host: &'a Api<Host>,
    r#virtual: &'a Api<Virtual>,
    guard: &'a Arc<Guard>,
}

impl Watches<'_> {
    /// Starts every watch there is.
    fn start(&self, writer: &Arc<Writer>, tasks: &mut JoinSet<()>) {
        for (kind, pair) in &self.state.kinds {
            let resource = pair.mapper.resource();
            let (state, shared_kind) = (self.state.clone(), kind.clone());
            let changed = Arc::new(move |changed| state.virtual_changed(&shared_kind, changed));
            tasks.spawn(self.watch_virtual(resource, "", pair.r#virtual.clone(), changed).run());
            tasks.spawn(self.watch_host(resource, kind, pair.host.clone()).run());
        }
        let state = self.state.clone();
        let relabelled = Arc::new(move |changed: Changed<Virtual>| state.look_at_pods(&changed.name));
        let mirrored = format!("{}%3Dtrue", volumes::MIRRORED_LABEL.replace('/', "%2F"));
        let others = [
            self.watch_virtual(&guard::namespaces(), "", self.state.namespaces.clone(), relabelled),
            self.watch_virtual(&nodes::nodes(), "", self.state.nodes.clone(), Arc::new(|_| {})),
            self.watch_virtual(&volumes::volumes(), &mirrored, self.state.volumes.clone(), Arc::new(|_| {})),
        ];
        for watch in others {
            tasks.spawn(watch.run());
        }
        self.start_events(writer, tasks);
    }

    fn watch_virtual(
        &self,
        resource: &ResourceType,
        selector: &str,
        store: Arc<Store<Virtual>>,
        changed: Arc<dyn Fn(Changed<Virtual>) + Send + Sync>,
    ) -> Watch<Virtual> {
        Watch {
            api: self.r#virtual.clone(),
            resource: resource.clone(),
            namespace: String::new(),
            selector: selector.to_owned(),
            lifetime: lifetime(resource),
            guard: Some(self.guard.clone()),
            store,
            changed,
        }
    }

    fn watch_host(&self, resource: &ResourceType, kind: &Kind, store: Arc<Store<Host>>) -> Watch<Host> {
        let (state, kind) = (self.state.clone(), kind.clone());
        Watch {
            api: self.host.clone(),
            resource: resource.clone(),
            namespace: self.state.names.namespace().to_owned(),
            selector: format!("{}%3D{}", CLUSTER_LABEL.replace('/', "%2F"), self.state.names.cluster()),
            lifetime: lifetime(resource),
            guard: None,
            store,
            changed: Arc::new(move |changed: Changed<Host>| state.host_changed(&kind, &changed)),
        }
    }

    fn start_events(&self, writer: &Arc<Writer>, tasks: &mut JoinSet<()>) {
        let (sender, receiver) = mpsc::channel(events::WAITING);
        let store: Arc<Store<Host>> = Arc::default();
        let seen = store.clone();
        let changed = Arc::new(move |changed: Changed<Host>| {
            seen.forget_content(&changed.namespace, &changed.name);
            if let Some(event) = changed.object.and_then(|event| serde_json::to_vec(event.fields()).ok()) {
                // A full channel: events are the least of what flows back.
                let _ = sender.try_send(event.into_boxed_slice());
            }
        });
        let watch = Watch {
            api: self.host.clone(),
            resource: events::events(),
            namespace: self.state.names.namespace().to_owned(),
            selector: String::new(),
            lifetime: OTHER_WATCH,
            guard: None,
            store,
            changed,
        };
        tasks.spawn(watch.run());
        let (state, writer, r#virtual) = (self.state.clone(), writer.clone(), self.r#virtual.clone());
        tasks.spawn(Events { state, writer, r#virtual }.run(receiver));
    }
}

fn lifetime(resource: &ResourceType) -> Duration {
    if resource.kind == "Pod" { POD_WATCH } else { OTHER_WATCH }
}
