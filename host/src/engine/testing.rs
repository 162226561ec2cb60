//! What tests of the engine run on: the caches of a virtual cluster `vc` in the host namespace `team-a`, and two
//! scripted API servers.

use std::sync::Arc;

use serde_json::{Value, json};
use weft_core::context::{Facts, Owner, Version};
use weft_core::kinds;
use weft_core::names::Names;
use weft_core::object::{Host, HostObject, Key, Kind, Virtual, VirtualName, VirtualObject};

use crate::api::Api;
use crate::api::scripted::{Answer, Asked, Requests, scripted};
use crate::engine::apply::Writer;
use crate::engine::cache::kinds::Kinds;
use crate::engine::cache::state::State;
use crate::registry::Rules;

/// Caches with the built-in rules, all complete and empty, and the servers behind them.
pub(crate) struct Bench {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) host: Api<Host>,
    pub(crate) r#virtual: Api<Virtual>,
    /// What the host was asked.
    pub(crate) host_requests: Requests,
    /// What the virtual API server was asked.
    pub(crate) virtual_requests: Requests,
}

impl Bench {
    /// Caches whose servers answer by these scripts.
    pub(crate) fn new(
        on_host: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
        on_virtual: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (host, host_requests) = scripted(on_host);
        let (r#virtual, virtual_requests) = scripted(on_virtual);
        let state = State::new(Names::new("vc", "team-a").unwrap(), facts());
        let rules = Rules { mappers: kinds::builtin(), ..Rules::default() };
        let (kinds, _) = Kinds::default().under(&rules, 1);
        for (_, synced) in kinds.each_synced() {
            synced.r#virtual.set_synced();
            synced.host.set_synced();
        }
        state.set_kinds(kinds);
        for store in [&state.namespaces, &state.nodes, &state.volumes] {
            store.set_synced();
        }
        let writer = Arc::new(Writer::new(host.clone(), r#virtual.clone(), "team-a"));
        Self { state: Arc::new(state), writer, host, r#virtual, host_requests, virtual_requests }
    }

    /// Caches whose servers echo what is written, as an API server does that has nothing to object.
    pub(crate) fn echoing() -> Self {
        Self::new(echo, echo)
    }

    /// Puts a virtual object of `kind` into its cache.
    pub(crate) fn put_virtual(&self, kind: &str, object: Value) -> Arc<VirtualObject> {
        let object = Arc::new(VirtualObject::from_json(object).unwrap());
        self.state.synced(&Kind::new(kind)).unwrap().r#virtual.put(object.clone());
        object
    }

    /// Puts a host object of `kind` into its cache.
    pub(crate) fn put_host(&self, kind: &str, object: Value) -> Arc<HostObject> {
        let object = Arc::new(HostObject::from_json(object).unwrap());
        self.state.synced(&Kind::new(kind)).unwrap().host.put(object.clone());
        object
    }
}

/// The key of a virtual object.
pub(crate) fn key(kind: &str, namespace: &str, name: &str) -> Key {
    Key { kind: Kind::new(kind), name: VirtualName::new(namespace, name) }
}

/// Answers a write with what was written, as version 100 with UID `uid-new` where it has none; refuses reads with 404.
pub(crate) fn echo(asked: &Asked) -> Answer {
    if asked.method == http::Method::GET {
        return Answer::failure(404, "NotFound");
    }
    let mut object = if asked.body.is_object() { asked.body.clone() } else { json!({}) };
    if object.get("metadata").is_none() {
        object["metadata"] = json!({});
    }
    object["metadata"]["resourceVersion"] = "100".into();
    if object["metadata"].get("name").is_none() {
        object["metadata"]["name"] = asked.path.rsplit('/').next().unwrap_or_default().into();
    }
    if object["metadata"].get("uid").is_none() {
        object["metadata"]["uid"] = "uid-new".into();
    }
    Answer::ok(object)
}

fn facts() -> Facts {
    let version = Version { major: 1, minor: 36 };
    Facts {
        owner: Some(Owner { name: "vc".to_owned(), uid: "uid-owner".to_owned() }),
        kubernetes: vec!["10.96.0.1".parse().unwrap()],
        dns: vec!["10.96.0.10".parse().unwrap()],
        cluster_domain: "cluster.local".to_owned(),
        workload_service_account: "weft-workload-vc".to_owned(),
        host_version: version,
        virtual_version: version,
    }
}
