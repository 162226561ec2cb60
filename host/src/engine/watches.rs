//! Starts the watches: which kind on which server goes into which store, and what a change requeues.

pub(crate) mod host_nodes;
mod lifetime;

use std::sync::Arc;

use tokio::sync::mpsc;
use weft_core::keys::{CLUSTER_LABEL, MIRRORED_LABEL};
use weft_core::object::{Host, Key, Kind, ResourceType, Virtual, VirtualObject};

use crate::api::Api;
use crate::engine::apply::Writer;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::content::Content;
use crate::engine::cache::kinds::{LookedUp, SyncedKind};
use crate::engine::cache::state::State;
use crate::engine::cache::store::Store;
use crate::engine::events::mirror::{self, Events};
use crate::engine::events::reason::Reason;
use crate::engine::events::recorder::{EventRecorder, ObjectEvent};
use crate::engine::informer::failures::Failures;
use crate::engine::informer::identity::Guards;
use crate::engine::informer::request::PageLimits;
use crate::engine::informer::watch::Watch;
use crate::engine::resources::{config_maps, events, namespaces, nodes, persistent_volumes, services};
use crate::engine::supervisor::{Supervisor, Tasks};
use lifetime::lifetime;

/// What the owner of an object is to do that cannot be decoded.
const UNREADABLE: &str = "this version of the object is not synced, because it is nested more than 127 levels deep or is no valid \
                          object; its host object stays as it is: make it flatter";

/// What every watch needs.
pub(crate) struct Watches {
    pub(crate) state: Arc<State>,
    pub(crate) host: Api<Host>,
    pub(crate) r#virtual: Api<Virtual>,
    pub(crate) guards: Guards,
    pub(crate) supervisor: Supervisor,
    pub(crate) failures: Arc<Failures>,
    pub(crate) recorder: EventRecorder,
}

/// Called with every change of a store.
type OnChange<S> = Arc<dyn Fn(Changed<S>) + Send + Sync>;

impl Watches {
    /// Starts those that do not depend on the rules; `service` is the host Service of the virtual API server.
    pub(crate) fn start(&self, writer: &Arc<Writer>, service: &str, tasks: &mut Tasks) {
        let [of_namespaces, of_nodes, of_claims] = [(); 3].map(|()| self.state.clone());
        let namespace_changed =
            Arc::new(move |changed: Changed<Virtual>| of_namespaces.namespace_changed(&changed));
        let mirrored = format!("{}%3Dtrue", MIRRORED_LABEL.replace('/', "%2F"));
        let state = &self.state;
        let namespaces = self.of_virtual(&namespaces(), state.namespaces.clone(), namespace_changed);
        let node_changed = Arc::new(move |changed: Changed<Virtual>| of_nodes.node_changed(&changed));
        let nodes = self.of_virtual(&nodes(), state.nodes.clone(), node_changed);
        let mirrored_changed = Arc::new(move |changed: Changed<Virtual>| of_claims.volume_changed(&changed));
        let volumes = self.of_virtual(&persistent_volumes(), state.volumes.clone(), mirrored_changed);
        for watch in [namespaces, nodes, Watch { selector: mirrored, ..volumes }] {
            let reporter = Some(self.failures.reporter("virtual", Some(watch.resource.kind())));
            tasks.spawn(Watch { reporter, ..watch }.run());
        }
        let [of_owner, of_api] = [(); 2].map(|()| self.state.clone());
        let owner = self.state.names.cluster();
        let owner_changed = Arc::new(move |changed: Changed<Host>| of_owner.owner_changed(&changed));
        let service_changed = Arc::new(move |changed: Changed<Host>| of_api.api_service_changed(&changed));
        self.start_one(&config_maps(), owner, owner_changed, tasks);
        self.start_one(&services(), service, service_changed, tasks);
        self.start_events(writer, tasks);
    }

    /// Starts the watch of one object that everything on the host depends on.
    fn start_one(&self, resource: &ResourceType, name: &str, changed: OnChange<Host>, tasks: &mut Tasks) {
        let watch = self.of_host(resource, Arc::default(), changed);
        // It need not have our label: no label selector, and a field selector behind it. No guard: the Service is what the
        // guard asks for, and nothing is concluded from either before they are read again.
        let selector = format!("&fieldSelector=metadata.name%3D{name}");
        tasks.spawn(Watch { selector, guard: None, ..watch }.run());
    }

    /// Starts both watches of a kind; they end when the set is dropped.
    pub(crate) fn start_synced(&self, kind: &Kind, synced: &SyncedKind) -> Tasks {
        let (resource, may_lack) = (&synced.mapper.spec().resource, !synced.mapper.spec().is_essential);
        let (state, changed_kind) = (self.state.clone(), kind.clone());
        let changed =
            Arc::new(move |changed: Changed<Virtual>| state.virtual_changed(&changed_kind, &changed));
        let r#virtual = self.of_virtual(resource, synced.r#virtual.clone(), changed);
        let (state, changed_kind) = (self.state.clone(), kind.clone());
        let changed = Arc::new(move |changed: Changed<Host>| state.host_changed(&changed_kind, &changed));
        let host = self.of_host(resource, synced.host.clone(), changed);
        let listed = self.listed(kind);
        let mut watches = self.supervisor.tasks();
        // What a server may lack is no reason to be unready.
        let reporter = |server| (!may_lack).then(|| self.failures.reporter(server, Some(kind.clone())));
        let (on_virtual, on_host) = (reporter("virtual"), reporter("host"));
        let content = synced.content;
        let r#virtual =
            Watch { may_lack, content, reporter: on_virtual, listed: listed.clone(), ..r#virtual };
        watches.spawn(r#virtual.run());
        // Their owners get events that say why.
        let (state, unserved_kind) = (self.state.clone(), kind.clone());
        let unserved = Arc::new(move || state.requeue_kind(&unserved_kind));
        watches.spawn(Watch { may_lack, reporter: on_host, unserved, listed, ..host }.run());
        watches
    }

    /// Starts the watch of a kind that is only looked up; it ends when the set is dropped.
    pub(crate) fn start_looked_up(&self, kind: &Kind, looked_up: &LookedUp) -> Tasks {
        let (state, changed_kind) = (self.state.clone(), kind.clone());
        let changed =
            Arc::new(move |changed: Changed<Virtual>| state.looked_up_changed(&changed_kind, &changed));
        let watch = self.of_virtual(&looked_up.resource, looked_up.store.clone(), changed);
        let mut watches = self.supervisor.tasks();
        let watch = Watch { may_lack: true, listed: self.listed(kind), ..watch };
        watches.spawn(watch.run());
        watches
    }

    /// A watch of our objects of a kind on the host.
    pub(crate) fn of_host(
        &self,
        resource: &ResourceType,
        store: Arc<Store<Host>>,
        changed: OnChange<Host>,
    ) -> Watch<Host> {
        Watch {
            api: self.host.clone(),
            server: "host",
            resource: resource.clone(),
            namespace: self.state.names.namespace().to_owned(),
            selector: format!("{}%3D{}", CLUSTER_LABEL.replace('/', "%2F"), self.state.names.cluster()),
            lifetime: lifetime(resource),
            may_lack: false,
            guard: Some(self.guards.host.clone()),
            reporter: None,
            content: Content::Whole,
            limits: PageLimits::default(),
            ambient: self.state.ambient.clone(),
            store,
            changed,
            unreadable: Arc::new(|_| {}),
            unserved: Arc::new(|| {}),
            listed: Arc::new(|| {}),
        }
    }

    /// A watch of all objects of a kind in the virtual cluster.
    fn of_virtual(
        &self,
        resource: &ResourceType,
        store: Arc<Store<Virtual>>,
        changed: OnChange<Virtual>,
    ) -> Watch<Virtual> {
        Watch {
            api: self.r#virtual.clone(),
            server: "virtual",
            resource: resource.clone(),
            namespace: String::new(),
            selector: String::new(),
            lifetime: lifetime(resource),
            may_lack: false,
            guard: Some(self.guards.r#virtual.clone()),
            reporter: None,
            content: Content::Whole,
            limits: PageLimits::default(),
            ambient: self.state.ambient.clone(),
            store,
            changed,
            unreadable: self.unreadable(resource.kind()),
            unserved: Arc::new(|| {}),
            listed: Arc::new(|| {}),
        }
    }

    /// Records an event on an object of this kind that cannot be decoded.
    fn unreadable(&self, kind: Kind) -> Arc<dyn Fn(VirtualObject) + Send + Sync> {
        let (recorder, reason) = (self.recorder.clone(), Reason::Unreadable);
        Arc::new(move |object| {
            let event = ObjectEvent {
                key: Key { kind: kind.clone(), name: object.virtual_name() },
                object: Arc::new(object),
                by: None,
                is_warning: reason.is_warning(),
                reason: reason.as_str().to_owned(),
                message: UNREADABLE.to_owned(),
                is_known_by_reason: true,
            };
            // One that finds no room comes again with the next version.
            recorder.record(event);
        })
    }

    fn listed(&self, kind: &Kind) -> Arc<dyn Fn() + Send + Sync> {
        let (state, kind) = (self.state.clone(), kind.clone());
        Arc::new(move || state.listed(&kind))
    }

    fn start_events(&self, writer: &Arc<Writer>, tasks: &mut Tasks) {
        let (sender, receiver) = mpsc::channel(mirror::WAITING);
        let store: Arc<Store<Host>> = Arc::default();
        let seen = store.clone();
        let changed = Arc::new(move |changed: Changed<Host>| {
            seen.forget_content(&changed.namespace, &changed.name);
            if let Some(event) = changed.object.and_then(|event| serde_json::to_vec(event.fields()).ok()) {
                // A full channel: events are the least of what flows back.
                let _ = sender.try_send(event.into_boxed_slice());
            }
        });
        // Those of others as well: none of them has our label.
        let watch = Watch { selector: String::new(), ..self.of_host(&events(), store, changed) };
        tasks.spawn(watch.run());
        let (state, writer, r#virtual) = (self.state.clone(), writer.clone(), self.r#virtual.clone());
        tasks.spawn(Events { state, writer, r#virtual }.run(receiver));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use serde_json::json;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, host_object, key, settle};

    /// A server with nothing to list.
    fn refusing(asked: &Asked) -> Answer {
        if asked.method == http::Method::GET { Answer::failure(403, "Forbidden") } else { echo(asked) }
    }

    /// Path and label selector of each list.
    fn lists(requests: &[Asked]) -> Vec<String> {
        let selector = |asked: &Asked| {
            let found = asked.query.split('&').find_map(|parameter| parameter.strip_prefix("labelSelector="));
            found.unwrap_or_default().to_owned()
        };
        let mut lists: Vec<String> = requests
            .iter()
            .map(|asked| format!("{} {}", asked.path, selector(asked)).trim_end().to_owned())
            .collect();
        lists.sort();
        lists
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_is_watched_everywhere_in_the_virtual_cluster_and_by_our_label_on_the_host() {
        let bench = Bench::new(refusing, refusing);
        let kind = Kind::new("v1/Service");
        let running = bench.watches().start_synced(&kind, &bench.state.synced(&kind).unwrap());
        settle().await;
        assert_eq!(lists(&bench.virtual_requests.all()), ["/api/v1/services"]);
        let on_host = ["/api/v1/namespaces/team-a/services weft.dev%2Fcluster%3Dvc"];
        assert_eq!(lists(&bench.host_requests.all()), on_host);
        drop(running);
        tokio::time::sleep(lifetime(&services())).await;
        assert_eq!(bench.host_requests.all().len(), 1, "the watches end with the set");
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_is_synced_only_while_used_the_virtual_cluster_is_asked_for_metadata_alone() {
        let on_virtual = |asked: &Asked| {
            let empty = json!({"metadata": {"resourceVersion": "1"}, "items": []});
            if asked.has("watch=1") { Answer::Silence } else { Answer::ok(empty) }
        };
        for (kind, is_for_metadata) in [("v1/ConfigMap", true), ("v1/Secret", true), ("v1/Service", false)] {
            let bench = Bench::new(on_virtual, on_virtual);
            let kind = Kind::new(kind);
            let _running = bench.watches().start_synced(&kind, &bench.state.synced(&kind).unwrap());
            settle().await;
            let asked = |requests: Vec<Asked>| -> Vec<bool> {
                let of_kind = requests.into_iter().filter(|asked| !asked.path.ends_with("/namespaces"));
                of_kind.map(|asked| asked.is_for_metadata).collect()
            };
            let list_and_watch = [is_for_metadata; 2];
            assert_eq!(asked(bench.virtual_requests.all()), list_and_watch, "{kind}");
            assert_eq!(asked(bench.host_requests.all()), [false; 2], "{kind}: what is on the host is ours");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_volumes_only_mirrors_are_watched_and_of_the_host_its_events_our_owner_and_service() {
        let bench = Bench::new(refusing, refusing);
        let mut tasks = Supervisor::default().tasks();
        bench.watches().start(&bench.writer, "vc", &mut tasks);
        settle().await;
        let in_virtual = [
            "/api/v1/events weft.dev%2Ffrom-host",
            "/api/v1/namespaces",
            "/api/v1/nodes",
            "/api/v1/persistentvolumes weft.dev%2Fmirrored%3Dtrue",
        ];
        assert_eq!(lists(&bench.virtual_requests.all()), in_virtual);
        let on_host =
            ["configmaps", "events", "services"].map(|kind| format!("/api/v1/namespaces/team-a/{kind}"));
        assert_eq!(lists(&bench.host_requests.all()), on_host);
        for path in [&on_host[0], &on_host[2]] {
            let of_one = bench.host_requests.all().into_iter().find(|asked| asked.path == *path);
            assert!(of_one.is_some_and(|asked| asked.has("fieldSelector=metadata.name%3Dvc")), "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_looked_up_is_watched_in_the_virtual_cluster_alone() {
        let bench = Bench::new(refusing, refusing);
        let looked_up = LookedUp { resource: ResourceType::core("Widget", "widgets"), store: Arc::default() };
        let _running = bench.watches().start_looked_up(&Kind::new("v1/Widget"), &looked_up);
        settle().await;
        assert_eq!(lists(&bench.virtual_requests.all()), ["/api/v1/widgets"]);
        assert!(bench.host_requests.all().is_empty(), "{:?}", bench.host_requests.lines());
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_the_host_shows_is_mirrored() {
        let (sender, stream) = Answer::stream();
        let stream = Mutex::new(Some(stream));
        let on_host = move |asked: &Asked| {
            if asked.has("watch=1") && asked.path.ends_with("/events") {
                return stream.lock().unwrap().take().unwrap_or(Answer::Silence);
            }
            if asked.has("watch=1") {
                return Answer::Silence;
            }
            Answer::ok(json!({"metadata": {"resourceVersion": "1"}, "items": []}))
        };
        let bench = Bench::new(on_host, refusing);
        bench.put_host("v1/Pod", host_object("v1/Pod", "shop", "web", "uid-1"));
        let mut tasks = Supervisor::default().tasks();
        bench.watches().start(&bench.writer, "vc", &mut tasks);
        let about = json!({"apiVersion": "v1", "kind": "Pod", "name": "web-x-shop-x-vc", "uid": "uid-host"});
        let metadata = json!({"namespace": "team-a", "name": "web-x-shop-x-vc.1", "resourceVersion": "2"});
        let event = json!({"metadata": metadata, "involvedObject": about, "reason": "Pulled"});
        let frame = json!({"type": "ADDED", "object": event}).to_string() + "\n";
        sender.send(Ok(frame.into())).await.unwrap();
        let written = bench.events().await;
        assert_eq!(written.len(), 1, "{:?}", bench.virtual_requests.lines());
        assert_eq!(
            (&written[0]["metadata"]["name"], &written[0]["reason"]),
            (&json!("web.1"), &json!("Pulled"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_cannot_be_read_is_an_event_on_it_and_keeps_its_host_object() {
        let bench = Bench::new(refusing, |asked: &Asked| match asked.path.as_str() {
            _ if asked.has("watch=1") => Answer::Silence,
            "/api/v1/services" => {
                let spec = (0..140).fold(json!(1), |inner, _| json!([inner]));
                let metadata =
                    json!({"namespace": "shop", "name": "web", "uid": "uid-1", "resourceVersion": "2"});
                let item = json!({"metadata": metadata, "spec": spec});
                Answer::ok(json!({"metadata": {"resourceVersion": "3"}, "items": [item]}))
            }
            _ if asked.method == http::Method::GET => Answer::failure(403, "Forbidden"),
            _ => echo(asked),
        });
        let kind = Kind::new("v1/Service");
        let synced = bench.state.synced(&kind).unwrap();
        let watch = bench.watches().of_virtual(
            &synced.mapper.spec().resource,
            synced.r#virtual.clone(),
            Arc::new(|_| {}),
        );
        let mut tasks = Supervisor::default().tasks();
        tasks.spawn(Watch { guard: None, ..watch }.run());
        let events = bench.events().await;
        assert_eq!(events.len(), 1, "{:?}", bench.virtual_requests.lines());
        assert_eq!(
            (&events[0]["reason"], &events[0]["involvedObject"]["uid"]),
            (&json!("ObjectUnreadable"), &json!("uid-1"))
        );
        bench.put_host("v1/Service", host_object("v1/Service", "shop", "web", "uid-1"));
        bench.syncer(Vec::new()).reconcile(&key("v1/Service", "shop", "web")).await;
        assert_eq!(
            bench.host_requests.bodies(&http::Method::DELETE).len(),
            0,
            "see SyncedKind::is_ready_for"
        );
    }
}
