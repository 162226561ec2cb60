//! A model of one API server, in process: weft's real client runs on it without sockets, and each run is the same.
//!
//! [`Model`] is a service of tower, so `kube::Client::new(model, "default")` is a client of it. It does no I/O, starts no task,
//! and reads no clock but tokio's, which tests can pause; names and UIDs come from a seed. The same requests in the same order
//! get the same answers, bit for bit.
//!
//! What it says is held to the truth by `tests/suite/model`: each case there runs against it and against a real API server.
//! What it does not have is refused with 501, so that no test believes what nobody has compared: server-side apply, deletion of
//! collections, foreground deletion, and subresources other than those of its table of kinds. It has no controllers: no garbage
//! collector, scheduler or kubelet, no token requests, and namespaces are empty when they are made. `managedFields` are left out.

mod bind;
mod call;
mod claims;
mod clock;
mod configs;
mod create;
mod delete;
mod direct;
mod identifiers;
mod kinds;
mod list;
mod metadata;
mod namespaces;
mod object;
mod patch;
mod pods;
mod refusal;
mod rules;
mod selector;
mod server;
mod services;
mod storage;
mod strategic;
mod tokens;
mod transport;
mod update;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch::Sender;

pub(crate) use self::clock::EPOCH;
use self::server::Server;

/// A model of one API server; clones are the same server.
#[derive(Clone)]
pub struct Model {
    server: Arc<Mutex<Server>>,
    /// The revision of the storage, for those who wait for the next one.
    revision: Sender<u64>,
}

impl Model {
    /// An empty server, with the namespaces that every server has. Must be called in a tokio runtime.
    pub fn new(seed: u64) -> Self {
        let server = Server::new(seed);
        let revision = Sender::new(server.storage.revision());
        Self { server: Arc::new(Mutex::new(server)), revision }
    }

    /// A client of it.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// Forgets what was before now: lists and watches that go on from there get 410.
    pub fn compact(&self) {
        self.lock().storage.compact();
        // Watches that are behind must notice.
        self.revision.send_modify(|_| {});
    }

    /// Keeps a copy of the storage, in place of the one before.
    pub fn keep(&self) {
        self.lock().storage.keep();
    }

    /// Goes back to the copy, as a server does whose storage is restored: its revisions go back too. Watches must be ended.
    pub fn go_back(&self) {
        self.lock().storage.go_back();
        self.revision.send_modify(|_| {});
    }

    /// Every answer is one step: nothing holds the lock across an await.
    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, Request};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;

    /// The whole answer to a request, as it is on the wire.
    async fn answer(model: &Model, method: Method, path: &str, body: Value) -> String {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
        let reply = model.client().send(request).await.unwrap();
        String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    async fn create(model: &Model, body: Value) -> String {
        answer(model, Method::POST, "/api/v1/namespaces/default/secrets", body).await
    }

    async fn read(model: &Model, query: &str) -> String {
        answer(model, Method::GET, &format!("/api/v1/namespaces/default/secrets?{query}"), Value::Null).await
    }

    /// What a server with this seed says in a life with waits in it.
    async fn life(seed: u64) -> Vec<String> {
        let model = Model::new(seed);
        let mut said = vec![create(&model, json!({"metadata": {"generateName": "a-"}})).await];
        tokio::time::sleep(Duration::from_hours(1)).await;
        said.push(create(&model, json!({"metadata": {"generateName": "a-"}})).await);
        said.push(read(&model, "limit=1").await);
        said.push(read(&model, "watch=1&timeoutSeconds=600&allowWatchBookmarks=true").await);
        said
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_makes_the_same_answers_bit_for_bit() {
        let (first, second, other) = (life(7).await, life(7).await, life(8).await);
        assert_eq!(first, second);
        assert_ne!(first, other);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_compacted_is_gone_from_pages_and_watches() {
        let model = Model::new(7);
        create(&model, json!({"metadata": {"name": "a"}})).await;
        create(&model, json!({"metadata": {"name": "b"}})).await;
        let page: Value = serde_json::from_str(&read(&model, "limit=1").await).unwrap();
        let next = page["metadata"]["continue"].as_str().unwrap();
        let before = page["items"][0]["metadata"]["resourceVersion"].as_str().unwrap();
        assert!(read(&model, &format!("continue={next}")).await.contains(r#""name":"b""#));
        create(&model, json!({"metadata": {"name": "c"}})).await;
        model.compact();
        assert!(read(&model, &format!("continue={next}")).await.contains(r#""code":410"#));
        let watch = read(&model, &format!("watch=1&resourceVersion={before}")).await;
        assert!(watch.contains(r#""type":"ERROR""#) && watch.contains(r#""code":410"#), "{watch}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_watch_is_sent_its_place_each_minute_and_waits_on_tokios_clock() {
        let model = Model::new(7);
        let started = Instant::now();
        let watch = read(&model, "watch=1&timeoutSeconds=300&allowWatchBookmarks=true").await;
        assert_eq!(started.elapsed(), Duration::from_mins(5));
        // One each minute, and one two seconds before the end.
        assert_eq!(watch.lines().filter(|line| line.contains("BOOKMARK")).count(), 5, "{watch}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_shows_what_happens_while_it_waits() {
        let model = Model::new(7);
        let writer = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            create(&model, json!({"metadata": {"name": "late"}})).await
        };
        let (watch, _) = tokio::join!(read(&model, "watch=1&timeoutSeconds=10"), writer);
        assert!(watch.contains(r#""name":"late""#), "{watch}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_model_does_not_have_is_refused() {
        let model = Model::new(7);
        let unknown = read(&model, "sendInitialEvents=true").await;
        assert!(unknown.contains(r#""code":501"#), "{unknown}");
        let all = "/api/v1/namespaces/default/secrets";
        let collection = answer(&model, Method::DELETE, all, Value::Null).await;
        assert!(collection.contains(r#""code":501"#), "{collection}");
    }
}
