//! Two model servers, the network between them, and the syncers that run on it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use weft::api::Api;
use weft::engine::{Ambient, Engine, Parts};
use weft::registry::Rules;
use weft_core::context::{Facts, Version};
use weft_core::kinds;
use weft_core::names::Names;
use weft_core::policy::Policy;

use super::invariants::Watchman;
use super::link::Link;
use super::network::{Network, Side};
use crate::model::{EPOCH, Model};

/// The virtual cluster, and its Service and owner on the host.
pub(super) const CLUSTER: &str = "vc";
/// The host namespace that is the syncer's.
pub(super) const NAMESPACE: &str = "team-a";
/// The namespaces that tenants work in.
pub(super) const SPACES: [&str; 2] = ["blue", "green"];
/// What pods run as on the host.
const ACCOUNT: &str = "vc-workload";
const WORKERS: usize = 2;
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// One virtual cluster on one host.
pub struct World {
    /// The host's API server.
    pub host: Model,
    /// The virtual one.
    pub r#virtual: Model,
    /// What is between them and the syncer.
    pub network: Network,
    /// How names are made.
    pub names: Names,
    seed: u64,
    started: Instant,
    starts: u64,
    syncers: Vec<Syncer>,
    /// Since when pods are on nodes that are not there, by their UIDs.
    pub(super) lost: RefCell<BTreeMap<String, Duration>>,
}

/// A syncer that runs, and what it follows.
struct Syncer {
    number: u64,
    _engine: Engine,
    _rules: watch::Sender<Arc<Rules>>,
    _events: mpsc::Sender<weft::registry::plugin_event::PluginEvent>,
    _addons: watch::Sender<Arc<Vec<weft::addons::Addon>>>,
}

impl World {
    /// A world as an installation leaves it, without a syncer. Must be called in a tokio runtime whose clock is paused.
    pub fn new(seed: u64) -> anyhow::Result<Self> {
        let (host, r#virtual) = (Model::new(seed), Model::new(seed.wrapping_add(1)));
        let network = Network::new(seed, Watchman::new(&host, &r#virtual));
        let names = Names::new(CLUSTER, NAMESPACE)?;
        let started = Instant::now();
        let (syncers, lost) = (Vec::new(), RefCell::default());
        let world = Self { host, r#virtual, network, names, seed, started, starts: 0, syncers, lost };
        world.install();
        Ok(world)
    }

    fn install(&self) {
        let namespace = |name: &str| json!({"metadata": {"name": name}});
        self.create(Side::Host, "/api/v1/namespaces", &namespace(NAMESPACE));
        let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
        self.create(Side::Host, &accounts, &namespace(ACCOUNT));
        let service = json!({"metadata": {"name": CLUSTER}, "spec": {"ports": [{"port": 443}]}});
        self.create(Side::Host, &format!("/api/v1/namespaces/{NAMESPACE}/services"), &service);
        let kubernetes =
            json!({"metadata": {"name": "kubernetes"}, "spec": {"ports": [{"name": "https", "port": 443}]}});
        self.create(Side::Virtual, "/api/v1/namespaces/default/services", &kubernetes);
        for space in SPACES {
            self.create(Side::Virtual, "/api/v1/namespaces", &namespace(space));
            let accounts = format!("/api/v1/namespaces/{space}/serviceaccounts");
            self.create(Side::Virtual, &accounts, &namespace("default"));
        }
        self.host.keep();
        self.r#virtual.keep();
    }

    /// The server of a side.
    pub fn server(&self, side: Side) -> &Model {
        match side {
            Side::Host => &self.host,
            Side::Virtual => &self.r#virtual,
        }
    }

    /// Creates an object, as somebody who is not the syncer; what is refused is not done.
    pub(super) fn create(&self, side: Side, path: &str, object: &Value) -> u16 {
        self.server(side).ask(Method::POST, path, JSON, object).0
    }

    /// Patches an object, or its status.
    pub(super) fn patch(&self, side: Side, path: &str, change: &Value) -> u16 {
        self.server(side).ask(Method::PATCH, path, MERGE, change).0
    }

    /// Deletes an object.
    pub(super) fn delete(&self, side: Side, path: &str, options: &Value) -> u16 {
        self.server(side).ask(Method::DELETE, path, JSON, options).0
    }

    /// Restores the storage of a server from the last copy; it starts anew.
    pub fn go_back(&self, side: Side) {
        self.server(side).go_back();
        self.network.go_back(side);
    }

    /// How many syncers run.
    pub fn syncers(&self) -> usize {
        self.syncers.len()
    }

    /// Starts one more syncer.
    pub fn start(&mut self) {
        self.starts += 1;
        let client = |side: Side| {
            let link = Link::new(side, self.server(side), &self.network, self.starts);
            kube::Client::new(link, "default")
        };
        let (host, r#virtual) = (Api::through(client(Side::Host)), Api::through(client(Side::Virtual)));
        let rules = Rules { mappers: kinds::builtin(), clean_up: BTreeSet::new() };
        let (rules_sender, rules) = watch::channel(Arc::new(rules));
        let (events_sender, plugin_events) = mpsc::channel(1);
        let (addons_sender, addons) = watch::channel(Arc::default());
        let engine = Engine::start(Parts {
            host,
            r#virtual,
            names: self.names.clone(),
            rules,
            plugin_events,
            addons,
            facts: facts(),
            service: CLUSTER.to_owned(),
            workers: WORKERS,
            kubelet: None,
            mirror: None,
            ambient: self.ambient(),
        });
        self.syncers.push(Syncer {
            number: self.starts,
            _engine: engine,
            _rules: rules_sender,
            _events: events_sender,
            _addons: addons_sender,
        });
    }

    /// Kills the oldest syncer, at whatever it awaits.
    pub fn kill(&mut self) {
        if !self.syncers.is_empty() {
            self.syncers.remove(0);
        }
    }

    /// Lets time pass; a syncer that dies meanwhile is started anew.
    pub(super) async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                number = self.network.death() => {
                    self.syncers.retain(|syncer| syncer.number != number);
                    self.start();
                }
                () = tokio::time::sleep_until(end) => return,
            }
        }
    }

    /// How long the world has been there.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The revisions of both servers.
    pub(super) fn revisions(&self) -> (u64, u64) {
        (self.host.revision(), self.r#virtual.revision())
    }

    /// Whether a controller does something by the clock alone.
    pub(super) fn awaits_time(&self) -> bool {
        !self.lost.borrow().is_empty()
    }

    /// What a syncer wrote last, though there was nothing left to write.
    pub(super) fn last_write(&self) -> String {
        let exchanges = self.network.exchanges();
        let last = exchanges.iter().rev().find(|exchange| !exchange.line.starts_with("GET "));
        let last = last.map_or_else(String::new, |last| format!(": {} {}", last.line, last.body));
        format!("there were writes though both sides were in step{last}")
    }

    /// The time in seconds since 1970.
    pub(super) fn seconds(&self) -> i64 {
        EPOCH.saturating_add(i64::try_from(self.age().as_secs()).unwrap_or_default())
    }

    fn ambient(&self) -> Ambient {
        let started = self.started;
        let wall = move || {
            let millis = i64::try_from(started.elapsed().as_millis()).unwrap_or_default();
            Timestamp::from_millisecond(EPOCH.saturating_mul(1000).saturating_add(millis)).unwrap_or_default()
        };
        Ambient::seeded(self.seed.wrapping_add(self.starts), Arc::new(wall))
    }
}

fn facts() -> Facts {
    let version = Version { major: 1, minor: 36 };
    Facts {
        cluster_domain: "cluster.local".to_owned(),
        workload_service_account: ACCOUNT.to_owned(),
        host_version: version,
        virtual_version: version,
        policy: Policy::open(),
        ..Facts::default()
    }
}
