//! Deletes the host objects of a kind that is no longer synced.
//!
//! Only what a list of its own shows, complete and fresh, and what has our identity of this kind; each object
//! only if it still is the one that was decided about.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as signal;
use tracing::{info, warn};
use weft_core::mapper::Mapper;
use weft_core::names::HostName;
use weft_core::object::{Host, Kind};

use crate::api;
use crate::engine::apply::Writer;
use crate::engine::cache::state::State;
use crate::engine::cache::store::Store;
use crate::engine::informer::watch::Watch;

/// First pause between two passes over what is left; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Deletes the stale host objects of one kind.
pub(crate) struct CleanUp {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) kind: Kind,
    /// The rules there were.
    pub(crate) mapper: Arc<dyn Mapper>,
    /// Shows what is on the host.
    pub(crate) store: Arc<Store<Host>>,
    /// Whether anything may be written.
    pub(crate) ready: signal::Receiver<bool>,
}

impl CleanUp {
    /// Runs until nothing is left; `watch` fills the store meanwhile.
    pub(crate) async fn run(self, watch: Watch<Host>) {
        tokio::select! {
            biased;
            () = watch.run() => {}
            () = self.delete_all() => {}
        }
    }

    async fn delete_all(mut self) {
        let mut pause = FIRST_PAUSE;
        while self.ready.wait_for(|ready| *ready).await.is_ok() {
            if self.store.is_synced() && self.delete_each().await == 0 {
                info!(kind = %self.kind, "no host object is left of a kind that is no longer synced");
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Deletes everything that is there; returns the number of objects that were not terminating before.
    async fn delete_each(&self) -> usize {
        let mut found = 0;
        for (namespace, name) in self.store.names() {
            let Some(object) = self.store.peek(&namespace, &name) else { continue };
            if object.is_terminating() || self.state.key_of(&object, &self.kind).is_none() {
                continue;
            }
            found += 1;
            // Readiness may have been lost meanwhile.
            if !*self.ready.borrow() {
                break;
            }
            let (resource, name) = (&self.mapper.spec().resource, HostName::of(&object));
            let deleted = self.writer.delete_host(resource, &name, object.uid(), None).await;
            if matches!(deleted, Err(api::Error::Withheld(_))) {
                break;
            }
            if let Err(error) = deleted {
                let error = &error as &dyn std::error::Error;
                warn!(kind = %self.kind, %name, error, "failed to delete a stale object of a kind that is no longer synced; trying again");
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::{Value, json};

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::testing::{Bench, echo, host_object};

    const SECRETS: &str = "v1/Secret";

    struct Stale {
        bench: Bench,
        store: Arc<Store<Host>>,
        ready: signal::Sender<bool>,
    }

    impl Stale {
        /// A host with these objects, which deletes what it is asked to delete.
        fn new(objects: &[Value], is_ready: bool) -> (Self, CleanUp) {
            let store: Arc<Store<Host>> = Arc::default();
            for object in objects {
                store.put(Arc::new(weft_core::object::HostObject::from_json(object.clone()).unwrap()));
            }
            let left = store.clone();
            let on_host = move |asked: &Asked| {
                let name = asked.path.rsplit('/').next().unwrap();
                left.remove("team-a", name, ResourceVersion::new("9"), Absence::Deleted);
                echo(asked)
            };
            Self::answering(store, on_host, is_ready)
        }

        fn answering(
            store: Arc<Store<Host>>,
            on_host: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
            is_ready: bool,
        ) -> (Self, CleanUp) {
            let bench = Bench::new(on_host, echo);
            let (ready, receiver) = signal::channel(is_ready);
            let kind = Kind::new(SECRETS);
            let clean_up = CleanUp {
                state: bench.state.clone(),
                writer: bench.writer.clone(),
                mapper: bench.state.synced(&kind).unwrap().mapper.clone(),
                kind,
                store: store.clone(),
                ready: receiver,
            };
            (Self { bench, store, ready }, clean_up)
        }

        fn lines(&self) -> Vec<String> {
            self.bench.host_requests.lines()
        }
    }

    const DB: &str = "DELETE /api/v1/namespaces/team-a/secrets/db-x-shop-x-vc";

    #[tokio::test(start_paused = true)]
    async fn only_what_has_our_identity_of_this_kind_is_deleted_and_by_its_uid() {
        let ours = host_object(SECRETS, "shop", "db", "uid-1");
        let of_another_kind = host_object("v1/ConfigMap", "shop", "settings", "uid-2");
        let mut unsigned = host_object(SECRETS, "shop", "unsigned", "uid-3");
        unsigned["metadata"]["annotations"] = json!({});
        let mut copied = host_object(SECRETS, "shop", "db", "uid-1");
        copied["metadata"]["name"] = "copy".into();
        let mut terminating = host_object(SECRETS, "shop", "going", "uid-4");
        terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let (stale, clean_up) = Stale::new(&[ours, of_another_kind, unsigned, copied, terminating], true);
        stale.store.set_synced();
        clean_up.delete_all().await;
        assert_eq!(stale.lines(), [DB]);
        let body = &stale.bench.host_requests.all()[0].body;
        assert_eq!(body["preconditions"], json!({"uid": "uid-host"}), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_deleted_before_the_list_is_complete_and_the_cluster_is_ready() {
        let (stale, clean_up) = Stale::new(&[host_object(SECRETS, "shop", "db", "uid-1")], false);
        let running = tokio::spawn(clean_up.delete_all());
        tokio::time::sleep(LAST_PAUSE * 2).await;
        stale.store.set_synced();
        tokio::time::sleep(LAST_PAUSE * 2).await;
        assert_eq!(stale.lines(), Vec::<String>::new(), "not ready");
        stale.ready.send_replace(true);
        running.await.unwrap();
        assert_eq!(stale.lines(), [DB]);

        let (stale, clean_up) = Stale::new(&[host_object(SECRETS, "shop", "db", "uid-1")], true);
        let running = tokio::spawn(clean_up.delete_all());
        tokio::time::sleep(LAST_PAUSE * 2).await;
        assert_eq!(stale.lines(), Vec::<String>::new(), "the list is not complete");
        stale.store.set_synced();
        running.await.unwrap();
        assert_eq!(stale.lines(), [DB]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_that_fails_is_tried_again() {
        let store: Arc<Store<Host>> = Arc::default();
        let object = host_object(SECRETS, "shop", "db", "uid-1");
        store.put(Arc::new(weft_core::object::HostObject::from_json(object).unwrap()));
        store.set_synced();
        let on_host = |_: &Asked| Answer::failure(500, "InternalError");
        let (stale, clean_up) = Stale::answering(store, on_host, true);
        tokio::spawn(clean_up.delete_all());
        tokio::time::sleep(FIRST_PAUSE * 4).await;
        assert_eq!(stale.lines(), [DB; 3], "at once, after the first pause, and after twice as long");
    }
}
