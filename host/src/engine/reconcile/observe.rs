//! What there is of a pair now: what the caches show, and what a server has to be asked for.
//!
//! The virtual objects of a kind that is synced only while something uses it are watched without their content, see
//! [`Content`](crate::engine::cache::content::Content): it is read here, when a decision needs it.

use std::sync::Arc;

use weft_core::keys::CLUSTER_LABEL;
use weft_core::names::Identity;
use weft_core::object::{Host, HostObject, Key, Virtual, VirtualObject};
use weft_core::spec::Life;

use crate::api::Api;
use crate::engine::apply::Side;
use crate::engine::cache::kinds::SyncedKind;
use crate::engine::cache::state::State;
use crate::engine::reconcile::error::Error;

/// What there is of a pair, held while it is decided about.
#[derive(Clone)]
pub(crate) struct Observed {
    /// Whole, if the pair is used.
    pub(crate) source: Option<Arc<VirtualObject>>,
    pub(crate) host: Option<Arc<HostObject>>,
    /// Whether something on the host uses the object.
    pub(crate) is_used: bool,
}

impl Observed {
    /// Whether either object is being deleted.
    pub(crate) fn is_ending(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_terminating())
            || self.host.as_ref().is_some_and(|host| host.is_terminating())
    }
}

/// Observes pairs.
pub(crate) struct Observer {
    pub(crate) state: Arc<State>,
    pub(crate) host: Api<Host>,
    pub(crate) r#virtual: Api<Virtual>,
}

impl Observer {
    /// What there is of the pair.
    pub(crate) async fn observe(&self, key: &Key, synced: &SyncedKind) -> Result<Observed, Error> {
        let mut source = synced.r#virtual.get(&key.name.namespace, &key.name.name);
        // Decided once: what is not used needs no content.
        let is_used = self.state.is_used(key);
        if is_used && source.as_ref().is_some_and(|source| source.is_metadata_only()) {
            source = self.read_content(key, synced).await?;
        }
        let mut host = self.state.host_object(synced, key);
        // The virtual pod would be deleted for want of a host pod, so the host itself is asked, unless it
        // has shown that this very pod was deleted.
        let is_process = synced.mapper.spec().policy.life == Life::Process;
        if let (Some(source), None, true) = (&source, &host, is_process)
            && self.state.was_placed(source)
        {
            host = self.confirm(key, synced, source.uid()).await?;
        }
        if let Some(host) = host.as_ref().filter(|host| !host.is_terminating())
            && self.is_doubtful(key, synced, source.as_deref(), host)
        {
            source = self.confirm_source(key, synced, host).await?;
        }
        Ok(Observed { source, host, is_used })
    }

    /// Whether the host object may be of a virtual object that the cache does not show yet: another syncer has made it, which
    /// this one has replaced or is being replaced by, while the watch of this one says nothing.
    fn is_doubtful(
        &self,
        key: &Key,
        synced: &SyncedKind,
        source: Option<&VirtualObject>,
        host: &HostObject,
    ) -> bool {
        let Some(Identity { uid, .. }) = self.state.names.identity(host) else { return source.is_none() };
        match source {
            None => !synced.r#virtual.is_deleted(&key.name.namespace, &key.name.name, &uid),
            Some(source) => uid != source.uid(),
        }
    }

    /// The virtual object as its server has it, before its host object is deleted for want of it.
    async fn confirm_source(
        &self,
        key: &Key,
        synced: &SyncedKind,
        host: &HostObject,
    ) -> Result<Option<Arc<VirtualObject>>, Error> {
        let (namespace, name) = (&key.name.namespace, &key.name.name);
        match self.r#virtual.get(&synced.mapper.spec().resource, namespace, name).await {
            Ok(object) => self.state.virtual_found(synced, key, &Arc::new(object)),
            Err(error) if error.is_not_found() => {
                if !synced.r#virtual.contains(namespace, name)
                    && let Some(identity) = self.state.names.identity(host)
                {
                    synced.r#virtual.confirm_deleted(namespace, name, &identity.uid);
                }
            }
            Err(error) => return Err(Side::Virtual.failed_to("read", key)(error).into()),
        }
        Ok(synced.r#virtual.get(namespace, name))
    }

    /// Reads a virtual object of which the cache has the metadata alone, into the cache. Only the watch says that it is gone: the
    /// answer may be of another server, or of one that went back.
    async fn read_content(
        &self,
        key: &Key,
        synced: &SyncedKind,
    ) -> Result<Option<Arc<VirtualObject>>, Error> {
        let (namespace, name) = (&key.name.namespace, &key.name.name);
        match self.r#virtual.get(&synced.mapper.spec().resource, namespace, name).await {
            Ok(whole) => self.state.content_read(synced, key, &Arc::new(whole)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(Side::Virtual.failed_to("read", key)(error).into()),
        }
        match synced.r#virtual.get(namespace, name) {
            Some(known) if known.is_metadata_only() => Err(Error::Older(key.to_string())),
            known => Ok(known),
        }
    }

    /// The host object that the cache does not show of the virtual object of this UID, if it is there after all.
    async fn confirm(
        &self,
        key: &Key,
        synced: &SyncedKind,
        uid: &str,
    ) -> Result<Option<Arc<HostObject>>, Error> {
        let (namespace, name) = (self.state.names.namespace(), self.state.names.host_name(&key.name));
        if synced.host.is_deleted(namespace, name.as_str(), uid) {
            return Ok(None);
        }
        match self.host.get(&synced.mapper.spec().resource, namespace, name.as_str()).await {
            Ok(object) => {
                let is_marked = object.label(CLUSTER_LABEL) == Some(self.state.names.cluster());
                self.state.host_found(synced, &Arc::new(object));
                match self.state.host_object(synced, key) {
                    // Ours by its label, though not by its identity: too much to take the pod for lost.
                    None if is_marked => Err(Error::NameTaken(name.to_string())),
                    found => Ok(found),
                }
            }
            Err(error) if error.is_not_found() => {
                synced.host.confirm_deleted(namespace, name.as_str(), uid);
                Ok(None)
            }
            Err(error) => Err(Side::Host.failed_to("read", key)(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::Method;
    use serde_json::{Value, json};

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::queue::Outcome;
    use weft_core::object::Kind;

    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::testing::{Bench, echo, host_object, key, service};

    fn settings() -> Key {
        key("v1/ConfigMap", "shop", "settings")
    }

    fn metadata(version: &str) -> Value {
        json!({"namespace": "shop", "name": "settings", "uid": "uid-2", "resourceVersion": version})
    }

    fn whole(version: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(version), "data": {"a": version}})
    }

    /// Of another server, where the version means another object.
    fn of_another(version: &str) -> Value {
        let mut object = whole(version);
        object["metadata"]["uid"] = "uid-of-another".into();
        object
    }

    /// Caches that have the metadata of a ConfigMap in version 4; the virtual API server answers a read of it so.
    fn bench(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Bench {
        let bench = Bench::new(echo, move |asked: &Asked| {
            if asked.path.ends_with("/configmaps/settings") { answer() } else { echo(asked) }
        });
        let alone = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata("4")});
        bench.watch_virtual("v1/ConfigMap", alone);
        bench
    }

    fn use_settings(bench: &Bench) {
        let mut pod = crate::engine::testing::pod();
        pod["spec"]["volumes"] = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
        bench.watch_virtual("v1/Pod", pod);
    }

    const READ: &str = "GET /api/v1/namespaces/shop/configmaps/settings";

    #[tokio::test(start_paused = true)]
    async fn content_is_read_once_something_uses_it_and_once_a_version() {
        let bench = bench(|| Answer::ok(whole("4")));
        let syncer = bench.syncer(Vec::new());
        syncer.reconcile(&settings()).await;
        assert!(bench.virtual_requests.all().is_empty(), "{:?}", bench.virtual_requests.lines());
        use_settings(&bench);
        assert_eq!(syncer.reconcile(&settings()).await, Outcome::Done);
        assert_eq!(bench.virtual_requests.lines(), [READ]);
        assert_eq!(bench.host_requests.bodies(&Method::POST)[0]["data"], json!({"a": "4"}));
        assert_eq!(bench.host_requests.bodies(&Method::POST)[0]["kind"], "ConfigMap");
        syncer.reconcile(&settings()).await;
        assert_eq!(bench.virtual_requests.lines(), [READ], "it is in the cache");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_of_what_is_gone_older_or_cannot_be_read() {
        let cases: [(fn() -> Answer, Outcome); 4] = [
            (|| Answer::failure(404, "NotFound"), Outcome::Failed(None)),
            (|| Answer::ok(whole("3")), Outcome::Failed(None)),
            (|| Answer::ok(of_another("4")), Outcome::Failed(None)),
            (|| Answer::failure(500, "InternalError"), Outcome::Failed(None)),
        ];
        for (answer, expected) in cases {
            let bench = bench(answer);
            use_settings(&bench);
            assert_eq!(bench.syncer(Vec::new()).reconcile(&settings()).await, expected);
            assert!(bench.host_requests.all().is_empty(), "{:?}", bench.host_requests.lines());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_is_newer_than_the_watch_wakes_whoever_has_read_the_object() {
        let bench = bench(|| Answer::ok(whole("6")));
        use_settings(&bench);
        let reader = key("v1/Service", "shop", "reader");
        bench.state.set_reads(&reader, [settings()].into());
        while tokio::time::timeout(std::time::Duration::ZERO, bench.state.queue.next()).await.is_ok() {}
        bench.syncer(Vec::new()).reconcile(&settings()).await;
        assert_eq!(bench.state.queue.next().await, Some(reader), "its watch event is none any more");
    }

    /// Caches that show a host Service of the UID `of`; the virtual API server answers a read of its Service so.
    fn with_host_service(of: &str, answer: fn() -> Answer) -> Bench {
        let bench =
            Bench::new(
                echo,
                move |asked: &Asked| {
                    if asked.path.ends_with("/services/web") { answer() } else { echo(asked) }
                },
            );
        bench.put_host("v1/Service", host_object("v1/Service", "shop", "web", of));
        bench
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_object_is_deleted_only_if_the_virtual_api_server_has_nothing_for_it_either() {
        let cases: [(fn() -> Answer, usize); 3] = [
            (|| Answer::ok(service("db", "7")), 0),
            (|| Answer::failure(500, "InternalError"), 0),
            (|| Answer::failure(404, "NotFound"), 1),
        ];
        for (answer, deletions) in cases {
            let bench = with_host_service("uid-1", answer);
            let web = key("v1/Service", "shop", "web");
            bench.syncer(Vec::new()).reconcile(&web).await;
            let asked = bench.virtual_requests.lines();
            assert_eq!(asked.first().map(String::as_str), Some("GET /api/v1/namespaces/shop/services/web"));
            assert_eq!(bench.host_requests.bodies(&Method::DELETE).len(), deletions, "{asked:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_watch_has_shown_to_be_deleted_is_not_asked_for() {
        let bench = with_host_service("uid-1", || Answer::ok(service("db", "7")));
        let services = bench.state.synced(&Kind::new("v1/Service")).unwrap();
        bench.put_virtual("v1/Service", service("db", "7"));
        services.r#virtual.remove("shop", "web", ResourceVersion::new("9"), Absence::Deleted);
        bench.syncer(Vec::new()).reconcile(&key("v1/Service", "shop", "web")).await;
        assert_eq!(bench.host_requests.bodies(&Method::DELETE).len(), 1);
        assert!(bench.virtual_requests.all().is_empty(), "{:?}", bench.virtual_requests.lines());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_object_of_a_later_virtual_object_than_the_cache_has_stays() {
        let bench = with_host_service("uid-2", || {
            let mut later = service("db", "7");
            later["metadata"]["uid"] = "uid-2".into();
            Answer::ok(later)
        });
        bench.watch_virtual("v1/Service", service("selector", "5"));
        bench.syncer(Vec::new()).reconcile(&key("v1/Service", "shop", "web")).await;
        assert!(bench.host_requests.bodies(&Method::DELETE).is_empty(), "{:?}", bench.host_requests.lines());
    }
}
