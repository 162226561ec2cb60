//! What there is of a pair now: what the caches show, and what a server has to be asked for.
//!
//! The virtual objects of a kind that is synced only while something uses it are watched without their content, see
//! [`Content`](crate::engine::informer::request::Content): it is read here, when a decision needs it.

use std::sync::Arc;

use weft_core::keys::CLUSTER_LABEL;
use weft_core::object::{Host, HostObject, Key, Virtual, VirtualObject};
use weft_core::spec::Life;

use crate::api::Api;
use crate::engine::apply::Side;
use crate::engine::cache::kinds::SyncedKind;
use crate::engine::cache::state::State;
use crate::engine::cache::store::Absence;
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
    /// What there is of the pair; `None` if its virtual object is just being removed, which its watch will show.
    pub(crate) async fn observe(&self, key: &Key, synced: &SyncedKind) -> Result<Option<Observed>, Error> {
        let mut source = synced.r#virtual.get(&key.name.namespace, &key.name.name);
        // Decided once: what is not used needs no content.
        let is_used = self.state.is_used(key);
        if is_used && source.as_ref().is_some_and(|source| source.is_metadata_only()) {
            source = Some(match self.read_content(key).await? {
                Some(whole) => whole,
                None => return Ok(None),
            });
        }
        let mut host = self.state.host_object(synced, key);
        // The virtual pod would be deleted for want of a host pod, so the host itself is asked, unless it
        // has shown that the pod was deleted.
        let is_process = synced.mapper.spec().policy.life == Life::Process;
        if let (Some(source), None, true) = (&source, &host, is_process)
            && self.state.was_placed(source)
        {
            host = self.confirm(key, synced).await?;
        }
        Ok(Some(Observed { source, host, is_used }))
    }

    /// Reads a virtual object whose cache has its metadata alone, into the cache; `None` if it is gone.
    pub(crate) async fn read_content(&self, key: &Key) -> Result<Option<Arc<VirtualObject>>, Error> {
        let Some(synced) = self.state.synced(&key.kind) else { return Ok(None) };
        let (namespace, name) = (&key.name.namespace, &key.name.name);
        let whole = match self.r#virtual.get(&synced.mapper.spec().resource, namespace, name).await {
            Ok(whole) => Arc::new(whole),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(Side::Virtual.failed_to("read", key)(error).into()),
        };
        self.state.content_read(&synced, key, &whole);
        match synced.r#virtual.get(namespace, name) {
            // Made anew, or changed, since: whatever shows that queues the pair. A server that went back is retried.
            Some(known) if known.is_metadata_only() => Err(Error::Older(key.to_string())),
            known => Ok(known),
        }
    }

    /// The host object that the cache does not show, if it is there after all.
    async fn confirm(&self, key: &Key, synced: &SyncedKind) -> Result<Option<Arc<HostObject>>, Error> {
        let (namespace, name) = (self.state.names.namespace(), self.state.names.host_name(&key.name));
        if synced.host.absence(namespace, name.as_str()) == Absence::Deleted {
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
                synced.host.confirm_absent(namespace, name.as_str());
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
    use weft_core::context::Ctx;
    use weft_core::mapper::Mapper;
    use weft_core::spec::KindSpec;
    use weft_core::verdict::Verdict;

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::kinds::Kinds;
    use crate::engine::queue::Outcome;
    use crate::engine::testing::{Bench, echo, key, service};
    use crate::registry::Rules;

    fn settings() -> Key {
        key("v1/ConfigMap", "shop", "settings")
    }

    fn metadata(version: &str) -> Value {
        json!({"namespace": "shop", "name": "settings", "uid": "uid-2", "resourceVersion": version})
    }

    fn whole(version: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(version), "data": {"a": version}})
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
        let cases: [(fn() -> Answer, Outcome); 3] = [
            (|| Answer::failure(404, "NotFound"), Outcome::Done),
            (|| Answer::ok(whole("3")), Outcome::Failed(None)),
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

    /// Copies into a Service what it reads of the ConfigMap.
    struct Reader(KindSpec);

    impl Mapper for Reader {
        fn spec(&self) -> &KindSpec {
            &self.0
        }

        fn to_host(&self, ctx: &Ctx<'_>, _: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
            let read =
                ctx.lookup.object(&settings()).and_then(|found| found.text("/data/a").map(str::to_owned));
            draft.fields_mut().insert("spec".to_owned(), json!({"externalName": read.unwrap_or_default()}));
            Ok(draft)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_that_reads_an_object_sees_it_whole() {
        let bench = bench(|| Answer::ok(whole("4")));
        let reader: Arc<dyn Mapper> = Arc::new(Reader(KindSpec::core("Service", "services")));
        let others =
            weft_core::kinds::builtin().into_iter().filter(|mapper| mapper.spec().resource.kind != "Service");
        let rules = Rules { mappers: others.chain([reader]).collect(), ..Rules::default() };
        let kinds: Kinds = bench.state.kinds().under(&rules, 1).0;
        bench.state.set_kinds(kinds);
        let web = key("v1/Service", "shop", "web");
        bench.put_virtual("v1/Service", service("web", "5"));
        let syncer = bench.syncer(Vec::new());
        assert_eq!(syncer.reconcile(&web).await, Outcome::Done);
        assert!(
            bench.host_requests.all().is_empty(),
            "it has read metadata alone: {:?}",
            bench.host_requests.lines()
        );
        assert_eq!(bench.virtual_requests.lines(), [READ]);
        syncer.reconcile(&web).await;
        assert_eq!(bench.host_requests.bodies(&Method::POST)[0]["spec"]["externalName"], "4");
    }
}
