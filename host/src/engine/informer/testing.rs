//! What tests of watches stand on: one watch of ConfigMaps that runs against a server with scripted lists and
//! watches, and a record of what it did to its store.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weft_core::object::{Kind, Object, ResourceType, Virtual};

use crate::api::MAX_REPLY;
use crate::api::scripted::{Answer, Asked, Requests, scripted};
use crate::engine::ambient::Ambient;
use crate::engine::cache::changed::Changed;
use crate::engine::cache::content::Content;
use crate::engine::cache::store::Store;
use crate::engine::cache::version::version_of;
use crate::engine::informer::failures::Failures;
use crate::engine::informer::identity::IdentityGuard;
use crate::engine::informer::request::PageLimits;
use crate::engine::informer::watch::Watch;
use crate::engine::testing::identity_answer;

/// How long a test waits for something, on the paused clock.
const PATIENCE: Duration = Duration::from_mins(30);
/// How long the server is asked to keep a watch.
pub(super) const LIFETIME: Duration = Duration::from_secs(55);
/// The virtual cluster that the identity guard expects.
const IDENTITY: &str = "uid-of-the-cluster";

type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// What the server answers, in order.
#[derive(Default)]
pub(super) struct Script {
    /// Pages of lists and of audits. After the last one the server answers 500.
    lists: VecDeque<Answer>,
    /// After the last one each watch shows nothing, and ends as it was asked to.
    watches: VecDeque<Answer>,
    /// Senders of the watches that stay open.
    open: Vec<Pieces>,
    /// UID of the virtual `kube-system` instead of the expected one.
    other_identity: Option<&'static str>,
    /// Of the whole storage, as the identity guard reads it.
    storage_version: u64,
    may_lack: bool,
    is_for_metadata: bool,
    /// Name and version of what the store has before the first list.
    stored: Option<(&'static str, &'static str)>,
}

impl Script {
    /// A list of one page, as of `version`, with these `(name, version)`.
    pub(super) fn list(self, version: &str, items: &[(&str, &str)]) -> Self {
        self.page(version, "", items)
    }

    /// A page of a list that goes on with the token `next`.
    pub(super) fn page(self, version: &str, next: &str, items: &[(&str, &str)]) -> Self {
        let items: Vec<Value> = items.iter().map(|(name, version)| config_map(name, version)).collect();
        let metadata = json!({"resourceVersion": version, "continue": next});
        self.list_answer(Answer::ok(json!({"metadata": metadata, "items": items})))
    }

    /// A list of one page, with these objects.
    pub(super) fn items(self, version: &str, items: &[Value]) -> Self {
        self.list_answer(Answer::ok(json!({"metadata": {"resourceVersion": version}, "items": items})))
    }

    /// Any other answer to the request for a list.
    pub(super) fn list_answer(mut self, answer: Answer) -> Self {
        self.lists.push_back(answer);
        self
    }

    /// A page that is larger than is read.
    pub(super) fn too_large(self) -> Self {
        let (sender, answer) = Answer::stream();
        sender.try_send(Ok(vec![b' '; MAX_REPLY + 1].into())).unwrap();
        self.list_answer(answer)
    }

    /// A watch that sends these pieces and stays open.
    pub(super) fn watch(self, pieces: &[String]) -> Self {
        let (sender, script) = self.pieces(pieces);
        script.keep(sender)
    }

    /// A watch that sends these pieces and ends.
    pub(super) fn ended_watch(self, pieces: &[String]) -> Self {
        self.pieces(pieces).1
    }

    /// A watch whose connection breaks after these pieces.
    pub(super) fn broken_watch(self, pieces: &[String]) -> Self {
        let (sender, script) = self.pieces(pieces);
        sender.try_send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
        script
    }

    /// Any other answer to the request for a watch.
    pub(super) fn watch_answer(mut self, answer: Answer) -> Self {
        self.watches.push_back(answer);
        self
    }

    /// The virtual API server is another one than expected.
    pub(super) fn of_another_cluster(self) -> Self {
        Self { other_identity: Some("uid-of-another"), ..self }
    }

    /// The watch asks for metadata alone.
    pub(super) fn metadata_alone(self) -> Self {
        Self { is_for_metadata: true, ..self }
    }

    /// The server may lack the kind.
    pub(super) fn may_lack(self) -> Self {
        Self { may_lack: true, ..self }
    }

    /// The store is complete before the first list, with this `(name, version)`.
    pub(super) fn after(self, name: &'static str, version: &'static str) -> Self {
        Self { stored: Some((name, version)), ..self }
    }

    fn pieces(self, pieces: &[String]) -> (Pieces, Self) {
        let (sender, answer) = Answer::stream();
        for piece in pieces {
            sender.try_send(Ok(Bytes::from(piece.clone()))).unwrap();
        }
        (sender, self.watch_answer(answer))
    }

    fn keep(mut self, sender: Pieces) -> Self {
        self.open.push(sender);
        self
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        if is_identity(asked) {
            return identity_answer(self.other_identity.unwrap_or(IDENTITY), self.storage_version);
        }
        if !asked.path.ends_with("/configmaps") {
            return Answer::failure(500, "NoDiscovery");
        }
        if !is_watch(asked) {
            return self.lists.pop_front().unwrap_or_else(|| Answer::failure(500, "EndOfScript"));
        }
        self.watches.pop_front().unwrap_or_else(|| {
            let (sender, answer) = Answer::stream_for(LIFETIME);
            self.open.push(sender);
            answer
        })
    }
}

/// A watch that runs.
pub(super) struct Running {
    pub(super) store: Arc<Store<Virtual>>,
    /// What readiness reports of the watch.
    pub(super) failures: Arc<Failures>,
    requests: Requests,
    script: Arc<Mutex<Script>>,
    record: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    pub(super) fn start(script: Script) -> Self {
        let store: Arc<Store<Virtual>> = Arc::default();
        if let Some((name, version)) = script.stored {
            let object = Object::from_json(config_map(name, version)).unwrap();
            store.put(Arc::new(object));
            store.set_synced();
        }
        let content = if script.is_for_metadata { Content::Metadata } else { Content::Whole };
        let may_lack = script.may_lack;
        let script = Arc::new(Mutex::new(script));
        let answering = script.clone();
        let (api, requests) = scripted::<Virtual>(move |asked| answering.lock().unwrap().answer(asked));
        let guard = IdentityGuard::of_virtual(api.clone());
        guard.expect(IDENTITY);
        let failures = Arc::<Failures>::default();
        let record = Arc::new(Mutex::new(Vec::new()));
        let (changes, lists, seen) = (record.clone(), record.clone(), store.clone());
        let unread = record.clone();
        let watch = Watch {
            api,
            server: "virtual",
            resource: ResourceType::core("ConfigMap", "configmaps"),
            namespace: String::new(),
            selector: String::new(),
            lifetime: LIFETIME,
            may_lack,
            guard: Some(Arc::new(guard)),
            reporter: Some(failures.reporter("virtual", Some(Kind::new("v1/ConfigMap")))),
            content,
            limits: PageLimits::default(),
            ambient: Ambient::default(),
            store: store.clone(),
            changed: Arc::new(move |changed| changes.lock().unwrap().push(line(&changed))),
            unreadable: Arc::new(move |object: Object<Virtual>| {
                unread.lock().unwrap().push(format!("?{}@{}", object.name(), version_of(&object).as_str()));
            }),
            unserved: Arc::new(|| {}),
            listed: Arc::new(move || {
                assert!(seen.is_synced(), "`listed` is called once the store is complete");
                lists.lock().unwrap().push("listed".to_owned());
            }),
        };
        Self { store, failures, requests, script, record, task: tokio::spawn(watch.run()) }
    }

    /// Waits until `is_so`, and fails with all that has happened if it never is.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(came.is_ok(), "{what} did not come; {}", self.story());
    }

    /// Waits until so many watches were begun.
    pub(super) async fn until_watches(&self, count: usize) {
        self.until(&format!("watch number {count}"), |running| running.watched_from().len() >= count).await;
        self.settle().await;
    }

    /// Waits until the store was changed so often, and a moment longer.
    pub(super) async fn until_changes(&self, count: usize) {
        self.until(&format!("change number {count}"), |running| running.changes().len() >= count).await;
        self.settle().await;
    }

    /// Lets everything happen that needs no time.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// What was done to the store, in order: `+a@7` stored, `-a` removed, `?a@7` not to be decoded.
    pub(super) fn changes(&self) -> Vec<String> {
        self.record().into_iter().filter(|line| line != "listed").collect()
    }

    /// The same, with `listed` for each complete list.
    pub(super) fn record(&self) -> Vec<String> {
        self.record.lock().unwrap().clone()
    }

    /// The version of the object of this name in the store.
    pub(super) fn version(&self, name: &str) -> Option<String> {
        let object = self.store.get("shop", name)?;
        Some(object.text("/metadata/resourceVersion").unwrap().to_owned())
    }

    /// The version that each watch began with, in order.
    pub(super) fn watched_from(&self) -> Vec<String> {
        let watches = self.requests.all().into_iter().filter(is_watch);
        watches.map(|asked| parameter(&asked, "resourceVersion").unwrap_or_default()).collect()
    }

    /// The `continue` token of each request for a page, in order; empty for a first page.
    pub(super) fn pages(&self) -> Vec<String> {
        self.of_pages("continue")
    }

    /// How many objects each page was asked to have, in order.
    pub(super) fn limits(&self) -> Vec<usize> {
        self.of_pages("limit").iter().map(|limit| limit.parse().unwrap()).collect()
    }

    fn of_pages(&self, name: &str) -> Vec<String> {
        let is_page = |asked: &Asked| asked.path == "/api/v1/configmaps" && !is_watch(asked);
        let pages = self.requests.all().into_iter().filter(is_page);
        pages.map(|asked| parameter(&asked, name).unwrap_or_default()).collect()
    }

    /// How often the identity guard asked.
    pub(super) fn confirmations(&self) -> usize {
        self.requests.all().iter().filter(|asked| is_identity(asked)).count()
    }

    /// Ends every watch that is open, as a server does after the time it was asked for.
    pub(super) fn end_watches(&self) {
        self.script.lock().unwrap().open.clear();
    }

    /// The next watch sends these pieces and stays open.
    pub(super) fn queue_watch(&self, pieces: &[String]) {
        let mut script = self.script.lock().unwrap();
        *script = std::mem::take(&mut *script).watch(pieces);
    }

    /// The connections of all open watches break.
    pub(super) fn break_watches(&self) {
        for watch in self.script.lock().unwrap().open.drain(..) {
            // It may have ended.
            let _ = watch.try_send(Err(io::ErrorKind::ConnectionReset.into()));
        }
    }

    /// The storage is at this version from now on.
    pub(super) fn set_storage_version(&self, version: u64) {
        self.script.lock().unwrap().storage_version = version;
    }

    /// The virtual API server is another one from now on.
    pub(super) fn become_another_cluster(&self) {
        self.script.lock().unwrap().other_identity = Some("uid-of-another");
    }

    /// The virtual API server is the expected one from now on.
    pub(super) fn restore_identity(&self) {
        self.script.lock().unwrap().other_identity = None;
    }

    fn story(&self) -> String {
        let asked = self.requests.all().into_iter().map(|asked| format!("{}?{}", asked.line(), asked.query));
        format!("asked {:#?}, record {:?}", asked.collect::<Vec<_>>(), self.record())
    }
}

/// A ConfigMap in the namespace `shop`.
pub(super) fn config_map(name: &str, version: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "resourceVersion": version}})
}

/// The same with data that is nested deeper than is read.
pub(super) fn nested(name: &str, version: &str) -> Value {
    let mut object = config_map(name, version);
    object["data"] = (0..140).fold(json!("bottom"), |inner, _| json!({"in": inner}));
    object
}

/// A frame of a watch, such as `("ADDED", config_map("a", "7"))`.
pub(super) fn frame(kind: &str, object: &Value) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

/// The frame of an object that is there.
pub(super) fn modified(name: &str, version: &str) -> String {
    frame("MODIFIED", &config_map(name, version))
}

/// A frame that moves the version.
pub(super) fn bookmark(version: &str) -> String {
    frame("BOOKMARK", &json!({"metadata": {"resourceVersion": version}}))
}

/// The frame with which a server ends a watch.
pub(super) fn error_frame(code: u16) -> String {
    frame("ERROR", &json!({"kind": "Status", "code": code, "message": "the script says so"}))
}

fn line(changed: &Changed<Virtual>) -> String {
    match &changed.object {
        Some(object) => {
            format!("+{}@{}", changed.name, object.text("/metadata/resourceVersion").unwrap_or_default())
        }
        None => format!("-{}", changed.name),
    }
}

fn is_identity(asked: &Asked) -> bool {
    asked.path == "/api/v1/namespaces"
}

fn is_watch(asked: &Asked) -> bool {
    asked.has("watch=1")
}

fn parameter(asked: &Asked, name: &str) -> Option<String> {
    let mut parameters = asked.query.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}
