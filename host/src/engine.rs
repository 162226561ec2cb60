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
mod index;
mod nodes;
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
use weft_core::object::{Host, HostObject, Kind, ResourceType, Virtual};

use crate::api::Api;
use apply::Writer;
use events::Events;
use foundation::Foundation;
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
        watch_all(&state, &host, &r#virtual, &writer, &mut tasks);
        tasks.spawn(Nodes::sweep_forever(state.clone(), writer.clone()));
        tasks.spawn(Volumes::sweep_forever(state.clone(), writer.clone()));
        tasks.spawn(pack_forever(state.clone()));
        let foundation =
            Foundation { state: state.clone(), writer: writer.clone(), host: host.clone(), r#virtual, service };
        tasks.spawn(keep_foundation(foundation, sound_sender));

        let syncer = Arc::new(Syncer {
            nodes: Nodes::new(state.clone(), writer.clone()),
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
        let outcome = if *sound.borrow() { syncer.reconcile(&key).await } else { Outcome::Again(FOUNDATION_RETRY) };
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
            pair.r#virtual.pack_cold();
            pair.host.pack_cold();
        }
    }
}

/// Starts every watch there is.
fn watch_all(state: &Arc<State>, host: &Api<Host>, r#virtual: &Api<Virtual>, writer: &Arc<Writer>, tasks: &mut JoinSet<()>) {
    for (kind, pair) in &state.kinds {
        let resource = pair.mapper.resource();
        tasks.spawn(watch_virtual(r#virtual, resource, "", pair.r#virtual.clone(), {
            let (state, kind) = (state.clone(), kind.clone());
            Arc::new(move |changed| state.virtual_changed(&kind, changed))
        }));
        tasks.spawn(watch_host(state, host, resource, kind));
    }
    tasks.spawn(watch_virtual(r#virtual, &namespaces(), "", state.namespaces.clone(), {
        let state = state.clone();
        Arc::new(move |changed| state.look_at_pods(&changed.name))
    }));
    tasks.spawn(watch_virtual(r#virtual, &nodes::nodes(), "", state.nodes.clone(), Arc::new(|_| {})));
    let mirrored = format!("{}%3Dtrue", volumes::MIRRORED_LABEL.replace('/', "%2F"));
    tasks.spawn(watch_virtual(r#virtual, &volumes::volumes(), &mirrored, state.volumes.clone(), Arc::new(|_| {})));
    watch_events(state, host, r#virtual, writer, tasks);
}

fn watch_virtual(
    api: &Api<Virtual>,
    resource: &ResourceType,
    selector: &str,
    store: Arc<Store<Virtual>>,
    changed: Arc<dyn Fn(Changed<Virtual>) + Send + Sync>,
) -> impl Future<Output = ()> + use<> {
    let watch = Watch {
        api: api.clone(),
        resource: resource.clone(),
        namespace: String::new(),
        selector: selector.to_owned(),
        lifetime: lifetime(resource),
        store,
        changed,
    };
    watch.run()
}

fn watch_host(state: &Arc<State>, api: &Api<Host>, resource: &ResourceType, kind: &Kind) -> impl Future<Output = ()> + use<> {
    let store = state.kinds.get(kind).map(|pair| pair.host.clone()).unwrap_or_default();
    let (shared, kind) = (state.clone(), kind.clone());
    let watch = Watch {
        api: api.clone(),
        resource: resource.clone(),
        namespace: state.names.namespace().to_owned(),
        selector: format!("{}%3D{}", CLUSTER_LABEL.replace('/', "%2F"), state.names.cluster()),
        lifetime: lifetime(resource),
        store,
        changed: Arc::new(move |changed: Changed<Host>| shared.host_changed(&kind, &changed)),
    };
    watch.run()
}

fn watch_events(state: &Arc<State>, host: &Api<Host>, r#virtual: &Api<Virtual>, writer: &Arc<Writer>, tasks: &mut JoinSet<()>) {
    let (sender, receiver) = mpsc::channel::<Arc<HostObject>>(events::WAITING);
    let store: Arc<Store<Host>> = Arc::default();
    let watch = Watch {
        api: host.clone(),
        resource: events::events(),
        namespace: state.names.namespace().to_owned(),
        selector: String::new(),
        lifetime: OTHER_WATCH,
        store: store.clone(),
        changed: Arc::new(move |changed: Changed<Host>| {
            store.forget_content(&changed.namespace, &changed.name);
            if let Some(event) = changed.object {
                // A full channel: events are the least of what flows back.
                let _ = sender.try_send(event);
            }
        }),
    };
    tasks.spawn(watch.run());
    let events = Events { state: state.clone(), writer: writer.clone(), r#virtual: r#virtual.clone() };
    tasks.spawn(events.run(receiver));
}

fn lifetime(resource: &ResourceType) -> Duration {
    if resource.kind == "Pod" { POD_WATCH } else { OTHER_WATCH }
}

fn namespaces() -> ResourceType {
    ResourceType { namespaced: false, ..ResourceType::core("Namespace", "namespaces") }
}
