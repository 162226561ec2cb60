//! What tests of the engine run on: the caches of a virtual cluster `vc` in the host namespace `team-a`, and two
//! scripted API servers.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use weft_core::context::{Ctx, Facts, Owner, Version};
use weft_core::keys::IDENTITY;
use weft_core::kinds;
use weft_core::labels;
use weft_core::mapper::Mapper;
use weft_core::names::{HostName, Identity, Names};
use weft_core::object::{Host, HostObject, Key, Kind, ResourceType, Virtual, VirtualName, VirtualObject};
use weft_core::spec::KindSpec;
use weft_core::verdict::Verdict;

use crate::api::Api;
use crate::api::scripted::{Answer, Asked, Requests, scripted};
use crate::engine::ambient::Ambient;
use crate::engine::apply::Writer;
use crate::engine::apply::gate::Gate;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::kinds::Kinds;
use crate::engine::cache::state::State;
use crate::engine::companions::{Companion, Companions};
use crate::engine::events::recorder::EventRecorder;
use crate::engine::informer::identity::{Guards, IdentityGuard};
use crate::engine::pods::Pods;
use crate::engine::reconcile::fight::Referee;
use crate::engine::reconcile::lasting::Lasting;
use crate::engine::reconcile::observe::Observer;
use crate::engine::reconcile::pace::Pace;
use crate::engine::reconcile::publish::Publisher;
use crate::engine::reconcile::steps::Steps;
use crate::engine::reconcile::syncer::Syncer;
use crate::engine::supervisor::Supervisor;
use crate::engine::watches::Watches;
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
        let state = State::new(names(), facts(), Ambient::default());
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
        let writer = Arc::new(Writer::new(host.clone(), r#virtual.clone(), "team-a", Gate::Open));
        Self { state: Arc::new(state), writer, host, r#virtual, host_requests, virtual_requests }
    }

    /// Caches that have seen no list.
    pub(crate) fn empty_state() -> State {
        State::new(names(), facts(), Ambient::default())
    }

    /// Caches whose servers echo what is written, as an API server does that has nothing to object.
    pub(crate) fn echoing() -> Self {
        Self::new(echo, echo)
    }

    /// Has the host Service of the virtual API server checked.
    pub(crate) fn know_service(&self) {
        let service = json!({"metadata": {"name": "vc", "namespace": "team-a", "uid": "uid-service"}});
        self.state.set_service(&Arc::new(HostObject::from_json(service).unwrap()));
    }

    /// The guards of both servers, which expect nothing yet.
    pub(crate) fn guards(&self) -> Guards {
        Guards {
            host: Arc::new(IdentityGuard::of_host(self.host.clone(), "team-a", "vc")),
            r#virtual: Arc::new(IdentityGuard::of_virtual(self.r#virtual.clone())),
        }
    }

    /// The pairs of pods, whoever the servers are.
    pub(crate) fn pods(&self) -> Pods {
        Pods::new(self.state.clone(), Arc::new(Gate::Open))
    }

    /// A recorder whose events are written to the virtual API server.
    pub(crate) fn recorder(&self) -> EventRecorder {
        let (recorder, recording) = EventRecorder::new(self.writer.clone(), self.state.ambient.clone());
        tokio::spawn(recording);
        recorder
    }

    /// What starts watches of both servers.
    pub(crate) fn watches(&self) -> Watches {
        Watches {
            state: self.state.clone(),
            host: self.host.clone(),
            r#virtual: self.r#virtual.clone(),
            guards: self.guards(),
            supervisor: Supervisor::default(),
            failures: Arc::default(),
            recorder: self.recorder(),
        }
    }

    /// A syncer with these companions.
    pub(crate) fn syncer(&self, companions: Vec<Arc<dyn Companion>>) -> Syncer {
        let steps = Steps {
            state: self.state.clone(),
            writer: self.writer.clone(),
            host: self.host.clone(),
            companions: Companions::new(companions),
        };
        Syncer {
            state: self.state.clone(),
            observer: Observer {
                state: self.state.clone(),
                host: self.host.clone(),
                r#virtual: self.r#virtual.clone(),
            },
            publisher: Publisher::new(self.state.clone(), self.recorder()),
            steps,
            pace: Pace::default(),
            referee: Referee {
                state: self.state.clone(),
                host: self.host.clone(),
                r#virtual: self.r#virtual.clone(),
            },
            lasting: Lasting::default(),
        }
    }

    /// The first object that was created on the host, as its watch shows it later.
    pub(crate) fn created_on_host(&self) -> Value {
        let mut object = self.host_requests.bodies(&http::Method::POST).remove(0);
        object["metadata"]["uid"] = "uid-new".into();
        object["metadata"]["resourceVersion"] = "101".into();
        object
    }

    /// The events that were created in the virtual cluster.
    pub(crate) async fn events(&self) -> Vec<Value> {
        settle().await;
        let all = self.virtual_requests.all().into_iter();
        all.filter(|asked| asked.method == http::Method::POST && asked.path.ends_with("/events"))
            .map(|asked| asked.body)
            .collect()
    }

    /// Type and reason of these events, as `kubectl describe` shows them.
    pub(crate) async fn reasons(&self) -> Vec<String> {
        let word = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let events = self.events().await;
        events.iter().map(|event| format!("{} {}", word(event, "type"), word(event, "reason"))).collect()
    }

    /// Puts a virtual object of `kind` into its cache, and notes what it names, as a watch does.
    pub(crate) fn watch_virtual(&self, kind: &str, object: Value) -> Arc<VirtualObject> {
        let object = self.put_virtual(kind, object);
        self.state.virtual_changed(&Kind::new(kind), &Changed::new(object.clone()));
        object
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

/// The mapper of a kind whose objects are copied as they are.
pub(crate) struct Plain(pub(crate) KindSpec);

impl Mapper for Plain {
    fn spec(&self) -> &KindSpec {
        &self.0
    }

    fn to_host(&self, _: &Ctx<'_>, _: &VirtualObject, draft: HostObject) -> Verdict<HostObject> {
        Ok(draft)
    }
}

/// A custom resource.
pub(crate) fn widgets() -> ResourceType {
    ResourceType {
        group: "example.org".into(),
        version: "v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
        namespaced: true,
    }
}

/// The key of a virtual object.
pub(crate) fn key(kind: &str, namespace: &str, name: &str) -> Key {
    Key { kind: Kind::new(kind), name: VirtualName::new(namespace, name) }
}

/// Lets every task go on until all of them wait; the clock must be paused.
pub(crate) async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}

/// The name on the host of a virtual object.
pub(crate) fn host_name(namespace: &str, name: &str) -> HostName {
    names().host_name(&VirtualName::new(namespace, name))
}

/// A host object, version 1 with UID `uid-host`, that belongs to the virtual object with the UID `uid`.
pub(crate) fn host_object(kind: &str, namespace: &str, name: &str, uid: &str) -> Value {
    let identity = Identity {
        cluster: "vc".to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    };
    json!({"metadata": {
        "name": host_name(namespace, name).as_str(), "namespace": "team-a", "uid": "uid-host", "resourceVersion": "1",
        "labels": labels::scope(&names(), namespace), "annotations": {IDENTITY: identity.to_text()},
    }})
}

/// The virtual Service `shop/web` with the UID `uid-1`, which selects `app=selector`.
pub(crate) fn service(selector: &str, version: &str) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "uid-1", "resourceVersion": version},
        "spec": {"type": "ClusterIP", "selector": {"app": selector}, "ports": [{"port": 80}],
                 "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"]},
    })
}

/// The virtual pod `shop/web` with the UID `uid-1`.
pub(crate) fn pod() -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "uid-1", "resourceVersion": "5"},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    })
}

/// A refusal (422) that names these fields, as validation does.
pub(crate) fn invalid(fields: &[&str]) -> Answer {
    let causes: Vec<Value> = fields.iter().map(|field| json!({"field": field})).collect();
    let status =
        json!({"reason": "Invalid", "message": "the script says Invalid", "details": {"causes": causes}});
    Answer::Reply(StatusCode::UNPROCESSABLE_ENTITY, status)
}

/// What a virtual API server says of itself when the guard asks who it is.
pub(crate) fn identity_answer(uid: &str, version: u64) -> Answer {
    let namespace = json!({"metadata": {"name": "kube-system", "uid": uid}});
    Answer::ok(json!({"metadata": {"resourceVersion": version.to_string()}, "items": [namespace]}))
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
        let path = asked.path.strip_suffix("/status").unwrap_or(&asked.path);
        object["metadata"]["name"] = path.rsplit('/').next().unwrap_or_default().into();
    }
    if let Some((_, rest)) = asked.path.split_once("/namespaces/") {
        object["metadata"]["namespace"] = rest.split('/').next().unwrap_or_default().into();
    }
    if object["metadata"].get("uid").is_none() {
        object["metadata"]["uid"] = "uid-new".into();
    }
    Answer::ok(object)
}

fn names() -> Names {
    Names::new("vc", "team-a").unwrap()
}

fn facts() -> Facts {
    let version = Version { major: 1, minor: 36 };
    Facts {
        owner: Some(Owner { name: "vc".to_owned(), uid: "uid-owner".to_owned() }),
        kubernetes: vec!["10.96.0.1".parse().unwrap()],
        dns: vec!["10.96.0.10".parse().unwrap()],
        cluster_domain: "cluster.local".to_owned(),
        workload_service_account: "weft-workload-vc".to_owned(),
        node_searches: Vec::new(),
        hosts_file_image: None,
        host_version: version,
        virtual_version: version,
        policy: weft_core::policy::Policy::open(),
    }
}
