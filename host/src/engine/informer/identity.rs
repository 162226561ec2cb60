//! The empty-cluster guard: is an API server still the one that it was, and no older?
//!
//! A virtual API server that comes back with another storage, or with none, must not make us delete what
//! runs. The virtual cluster's identity is the UID of its namespace `kube-system`, which is as old as its
//! storage; the host remembers it, as an annotation of the Service of the virtual API server. A host where this Service
//! is missing, or remembers another virtual cluster, is another host: that it has none of our pods says nothing of them.
//! A storage that was restored to an older state keeps its identity, but its versions go back: then what the caches have
//! is no longer the past of that server.

mod subject;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::join;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tracing::warn;
use weft_core::object::{Host, Virtual};

use crate::api::{self, Api};
use crate::engine::cache::version::{Epochs, ResourceVersion};

pub(crate) use subject::OF_VIRTUAL;
use subject::Subject;

/// An answer holds for so long: many watches and writes ask at the same time.
const FRESH: Duration = Duration::from_secs(1);
/// The first who comes after so long asks anew, so that under load nobody else waits.
const RENEWED: Duration = Duration::from_millis(500);
/// A server that has not answered by then cannot say who it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// The guards of both API servers.
#[derive(Clone)]
pub(crate) struct Guards {
    pub(crate) host: Arc<IdentityGuard<Host>>,
    pub(crate) r#virtual: Arc<IdentityGuard<Virtual>>,
}

impl Guards {
    /// Fails if either server is another one than expected: see [`IdentityGuard::check`].
    pub(crate) async fn check(&self) -> Result<(), Arc<Error>> {
        // Both to the end: a question that is dropped would be asked again by each write.
        let (of_virtual, of_host) = join!(self.r#virtual.check(), self.host.check());
        of_virtual.and(of_host)
    }

    /// The epochs that both servers are in.
    pub(crate) fn epochs(&self) -> Epochs {
        Epochs { host: *self.host.epoch().borrow(), r#virtual: *self.r#virtual.epoch().borrow() }
    }

    /// Sets the virtual cluster that both are expected to be of.
    pub(crate) fn expect(&self, identity: &str) {
        self.r#virtual.expect(identity);
        self.host.expect(identity);
    }

    /// Waits until either server was found to be another one.
    pub(crate) async fn doubted(&self) {
        tokio::select! {
            biased;
            () = self.r#virtual.doubted() => {}
            () = self.host.doubted() => {}
        }
    }
}

/// Compares the virtual cluster that a server is of with the one that is expected.
pub(crate) struct IdentityGuard<S> {
    api: Api<S>,
    subject: Subject,
    known: Mutex<Known>,
    /// Held while the server is asked: who comes meanwhile takes that answer.
    asking: tokio::sync::Mutex<()>,
    epoch: watch::Sender<u64>,
    doubted: Notify,
}

#[derive(Default)]
struct Known {
    expected: Option<String>,
    /// What the server said last, whatever was expected: its identity, and the version of its storage.
    seen: Option<(String, ResourceVersion)>,
    checked: Option<(Instant, Result<(), Arc<Error>>)>,
}

/// Why a server is not trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the virtual kube-system has the UID {found}, expected {expected}: this is another virtual cluster"
    )]
    OtherCluster { found: String, expected: String },
    #[error(
        "the host Service {service} remembers the virtual cluster {found}, expected {expected}: this is another host"
    )]
    OtherHost { service: String, found: String, expected: String },
    #[error("failed to read the {subject}")]
    Api { subject: String, source: api::Error },
    #[error("the virtual cluster has no namespace kube-system yet")]
    NoNamespace,
    #[error("the host has no Service {0} that remembers a virtual cluster: it may be another host")]
    NoService(String),
}

impl IdentityGuard<Virtual> {
    /// The guard of the virtual API server.
    pub(crate) fn of_virtual(api: Api<Virtual>) -> Self {
        Self::new(api, Subject::KubeSystem)
    }
}

impl IdentityGuard<Host> {
    /// The guard of the host, where `service` of `namespace` is that of the virtual API server.
    pub(crate) fn of_host(api: Api<Host>, namespace: &str, service: &str) -> Self {
        Self::new(api, Subject::Service { namespace: namespace.to_owned(), name: service.to_owned() })
    }
}

impl<S> IdentityGuard<S> {
    fn new(api: Api<S>, subject: Subject) -> Self {
        Self {
            api,
            subject,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            epoch: watch::Sender::new(0),
            doubted: Notify::new(),
        }
    }

    /// The virtual cluster that the server is of, as it answers now.
    pub(crate) async fn identity(&self) -> Result<String, Error> {
        // One at a time: two answers that overtake each other look like a storage that went back.
        let _asking = self.asking.lock().await;
        let (found, version) = self.ask().await?;
        self.learn(&found, version);
        Ok(found)
    }

    /// Sets what is expected from now on.
    pub(crate) fn expect(&self, identity: &str) {
        let mut known = self.known();
        let before = known.expected.replace(identity.to_owned());
        if before.as_deref() != Some(identity) {
            known.checked = None;
        }
    }

    /// Fails if the server is of another virtual cluster than expected, or could not say within the last second. Before one is
    /// expected nothing is written, so that nobody needs to ask.
    pub(crate) async fn check(&self) -> Result<(), Arc<Error>> {
        if self.known().expected.is_none() {
            return Ok(());
        }
        let _asking = match self.fresh() {
            Some((age, Ok(()))) if age >= RENEWED => match self.asking.try_lock() {
                Ok(asking) => asking,
                Err(_) => return Ok(()),
            },
            Some((_, fresh)) => return fresh,
            None => self.asking.lock().await,
        };
        if let Some((age, fresh)) = self.fresh()
            && age < RENEWED
        {
            return fresh;
        }
        let answer = self.ask().await.map_err(Arc::new);
        let checked = answer.and_then(|(found, version)| {
            self.learn(&found, version);
            self.compare(found)
        });
        self.known().checked = Some((Instant::now(), checked.clone()));
        checked
    }

    /// Counts how often what the caches have has stopped being the server's past, because it was another one or its storage
    /// went back: lists that were begun before are worth nothing.
    pub(crate) fn epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Waits until the server was found to be another one.
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Begins a new epoch if the server is another one than it was, or at an older state.
    fn learn(&self, found: &str, version: ResourceVersion) {
        let mut known = self.known();
        let is_past = known.seen.as_ref().is_none_or(|(before, at)| {
            let went_back = before == found && at.is_newer_than(&version);
            if went_back {
                let (from, to) = (at.as_str(), version.as_str());
                let server = self.subject.server();
                warn!(
                    server,
                    from, to, "the server's storage went back to an older state; listing everything again"
                );
            }
            before == found && !went_back
        });
        if !is_past {
            self.epoch.send_modify(|epoch| *epoch += 1);
        }
        known.seen = Some((found.to_owned(), version));
    }

    fn compare(&self, found: String) -> Result<(), Arc<Error>> {
        let expected = self.known().expected.clone();
        match expected.filter(|expected| *expected != found) {
            None => Ok(()),
            Some(expected) => {
                self.doubted.notify_one();
                Err(Arc::new(self.subject.other(found, expected)))
            }
        }
    }

    /// The last outcome and its age, while it holds.
    fn fresh(&self) -> Option<(Duration, Result<(), Arc<Error>>)> {
        let known = self.known();
        let (at, checked) = known.checked.as_ref()?;
        let age = at.elapsed();
        (age < FRESH).then(|| (age, checked.clone()))
    }

    async fn ask(&self) -> Result<(String, ResourceVersion), Error> {
        let reply = timeout(PATIENCE, self.api.send(api::get(&self.subject.url()))).await;
        let reply = reply.unwrap_or(Err(api::Error::Timeout)).map_err(|error| self.subject.failed(error))?;
        let (found, version) = self.subject.read(&reply)?;
        let found = found.ok_or_else(|| {
            self.doubted.notify_one();
            self.subject.missing()
        })?;
        Ok((found, version))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;

    use crate::api::scripted::{Answer as Reply, Requests, scripted};

    /// A guard that expects `cluster-1`, and the version that its server is at; 0 is another cluster.
    fn guard() -> (IdentityGuard<Virtual>, Requests, Arc<AtomicU64>) {
        let version = Arc::new(AtomicU64::new(50));
        let at = version.clone();
        let (api, requests) = scripted(move |_| {
            let version = at.load(Ordering::Relaxed);
            let uid = if version == 0 { "cluster-2" } else { "cluster-1" };
            let item = json!({"metadata": {"uid": uid}});
            Reply::ok(json!({"metadata": {"resourceVersion": version.to_string()}, "items": [item]}))
        });
        let guard = IdentityGuard::of_virtual(api);
        guard.expect("cluster-1");
        (guard, requests, version)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_serves_all_that_ask_within_a_second() {
        let (guard, requests, version) = guard();
        let (one, two) = tokio::join!(guard.check(), guard.check());
        assert!(one.is_ok() && two.is_ok());
        version.store(0, Ordering::Relaxed);
        assert!(guard.check().await.is_ok());
        assert_eq!(requests.all().len(), 1);
        tokio::time::sleep(FRESH).await;
        let error = guard.check().await.unwrap_err();
        assert!(matches!(*error, Error::OtherCluster { .. }), "{error}");
        guard.doubted().await;
        assert!(guard.check().await.is_err(), "a refusal holds as long");
        assert_eq!(requests.all().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_renewed_before_it_is_too_old_by_one_that_others_do_not_wait_for() {
        let (guard, requests, _) = guard();
        guard.check().await.unwrap();
        tokio::time::sleep(RENEWED).await;
        let (one, two) = tokio::join!(guard.check(), guard.check());
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(requests.all().len(), 2);
        tokio::time::sleep(RENEWED).await;
        let _renewing = guard.asking.lock().await;
        assert!(guard.check().await.is_ok(), "the answer of before still holds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_another_one_meanwhile_begins_new_epochs_before_anything_is_expected() {
        let (guard, _, version) = guard();
        version.store(0, Ordering::Relaxed);
        assert_eq!(guard.identity().await.unwrap(), "cluster-2");
        assert_eq!(*guard.epoch().borrow(), 0);
        version.store(70, Ordering::Relaxed);
        assert_eq!(guard.identity().await.unwrap(), "cluster-1");
        assert_eq!(*guard.epoch().borrow(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_storage_and_another_cluster_on_purpose_begin_a_new_epoch() {
        let (guard, _, version) = guard();
        for (at, epoch) in [(50, 0), (60, 0), (55, 1), (56, 1)] {
            version.store(at, Ordering::Relaxed);
            guard.check().await.unwrap();
            assert_eq!(*guard.epoch().borrow(), epoch, "{at}");
            tokio::time::sleep(FRESH).await;
        }
        version.store(0, Ordering::Relaxed);
        assert!(guard.check().await.is_err());
        guard.expect("cluster-2");
        assert_eq!(*guard.epoch().borrow(), 2);
        guard.check().await.unwrap();
    }
}
