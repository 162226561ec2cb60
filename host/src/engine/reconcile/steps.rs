//! Carries out the steps of a plan, and deals with what servers answer to them.

mod on_virtual;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;
use weft_core::change::Change;
use weft_core::names::HostName;
use weft_core::object::{Host, HostObject, Key, ResourceType};
use weft_core::plan::{self, Plan, Step};

use crate::api::{self, Api};
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::kinds::SyncedKind;
use crate::engine::cache::state::State;
use crate::engine::companions::Companions;
use crate::engine::queue::Outcome;
use crate::engine::reconcile::decide::Observed;
use crate::engine::reconcile::error::Error;

/// A server releases the address of a deleted Service a moment after it has published the deletion: what is refused
/// to its successor is requested once more after this time.
const RELEASE: Duration = Duration::from_millis(100);
/// How often.
const RELEASES: u32 = 5;

/// Carries out plans.
pub(crate) struct Steps {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) host: Api<Host>,
    pub(crate) companions: Companions,
}

/// The pair that is written to.
#[derive(Clone, Copy)]
struct Target<'a> {
    key: &'a Key,
    synced: &'a SyncedKind,
}

impl<'a> Target<'a> {
    fn resource(self) -> &'a ResourceType {
        &self.synced.mapper.spec().resource
    }

    fn failed_to(self, side: Side, action: &'static str) -> impl FnOnce(api::Error) -> Failed {
        side.failed_to(action, self.key)
    }
}

impl Steps {
    /// Carries out `plan` up to the first write that fails, then calls the companions of the kind; returns when to
    /// requeue the pair.
    pub(crate) async fn carry_out(
        &self,
        key: &Key,
        synced: &SyncedKind,
        observed: &Observed,
        plan: Plan,
    ) -> Result<Outcome, Error> {
        let mut host = observed.host.clone();
        let mut written = Ok(());
        for step in plan.steps {
            debug!(%key, step = step.name(), "writing");
            match self.write(Target { key, synced }, plan.desired.as_ref(), step).await {
                Ok(made) => host = made.or(host),
                Err(error) => {
                    written = Err(error);
                    break;
                }
            }
        }
        let (Some(source), Some(host)) = (&observed.source, &host) else {
            return written.map(|()| Outcome::Done);
        };
        // Also after a refusal: tokens expire meanwhile.
        let accompanied = self.companions.ensure(&key.kind, source, host).await;
        written?;
        Ok(accompanied?)
    }

    /// Carries out one step towards `desired`; returns the host object if the step made or changed it.
    async fn write(
        &self,
        target: Target<'_>,
        desired: Option<&HostObject>,
        step: Step,
    ) -> Result<Option<Arc<HostObject>>, Error> {
        match step {
            Step::CreateHost(object) => return self.create_host(target, &object).await.map(Some),
            Step::PatchHost { name, uid, change } => {
                return self.patch_host(target, desired, &name, &uid, &change).await.map(Some);
            }
            Step::DeleteHost { name, uid, grace } => self.delete_host(target, &name, &uid, grace).await?,
            Step::Bind { name, uid, node } => self.bind(target, &name, &uid, &node).await?,
            Step::PatchVirtual { name, uid, change } => {
                self.patch_virtual(target, &name, &uid, &change).await?;
            }
            Step::DeleteVirtual { name, uid, grace } => {
                self.delete_virtual(target, &name, &uid, grace).await?;
            }
        }
        Ok(None)
    }

    async fn create_host(&self, target: Target<'_>, object: &HostObject) -> Result<Arc<HostObject>, Error> {
        let created = self.create_relaxed(target, object).await?;
        self.state.host_answered(&target.key.kind, &created);
        Ok(created)
    }

    /// Creates a host object; leaves to the host what it cannot give as requested; finds out whose object is
    /// there when there is one already.
    async fn create_relaxed(
        &self,
        target: Target<'_>,
        object: &HostObject,
    ) -> Result<Arc<HostObject>, Error> {
        let mut relaxed: Option<HostObject> = None;
        let was_there = target.synced.host.was_there(self.state.names.namespace(), object.name());
        let mut retries = if was_there { RELEASES } else { 0 };
        loop {
            let requested = relaxed.as_ref().unwrap_or(object);
            let error = match self.writer.create_host(target.resource(), requested).await {
                Ok(created) => return Ok(created),
                Err(error) if error.is_already_exists() => return self.adopt(target, object).await,
                Err(error) => error,
            };
            match relax(target.synced, requested, &error) {
                Some(_) if retries > 0 => {
                    retries -= 1;
                    tokio::time::sleep(RELEASE).await;
                }
                Some(next) => relaxed = Some(next),
                None => return Err(target.failed_to(Side::Host, "create")(error).into()),
            }
        }
    }

    /// What to do about the host object that has the name of `object` already.
    async fn adopt(&self, target: Target<'_>, object: &HostObject) -> Result<Arc<HostObject>, Error> {
        let (resource, namespace) = (target.resource(), self.state.names.namespace());
        let failed = |action| target.failed_to(Side::Host, action);
        let found = self.host.get(resource, namespace, object.name()).await.map_err(failed("read"))?;
        if self.companions.is_stale(&found, &target.key.name.namespace) {
            let stale = HostName::of(&found);
            let deleted = self.writer.delete_host(resource, &stale, found.uid(), None).await;
            deleted.map_err(failed("replace"))?;
            return Ok(self.writer.create_host(resource, object).await.map_err(failed("create"))?);
        }
        if self.state.key_of(&found, &target.key.kind).as_ref() != Some(target.key) {
            return Err(Error::NameTaken(HostName::of(object).to_string()));
        }
        // Ours, and not in the cache yet: decide again with it in view.
        let found = Arc::new(found);
        target.synced.host.readmit(found.clone());
        self.state.queue.add(target.key.clone());
        Ok(found)
    }

    async fn patch_host(
        &self,
        target: Target<'_>,
        desired: Option<&HostObject>,
        name: &HostName,
        uid: &str,
        change: &Change,
    ) -> Result<Arc<HostObject>, Error> {
        let patched = match self.writer.patch_host(target.resource(), name, uid, change).await {
            Err(refusal) => self.patch_relaxed(target, desired, uid, refusal).await,
            patched => patched,
        };
        let patched = patched.map_err(target.failed_to(Side::Host, "patch"))?;
        self.state.host_answered(&target.key.kind, &patched);
        Ok(patched)
    }

    /// After the host has refused a patch of the object of this UID: leaves to the host what it cannot give
    /// as requested. The digest stays that of what the tenant wants, so that it is not requested again.
    async fn patch_relaxed(
        &self,
        target: Target<'_>,
        desired: Option<&HostObject>,
        uid: &str,
        mut refusal: api::Error,
    ) -> Result<Arc<HostObject>, api::Error> {
        // The cache has what earlier steps wrote.
        let host = self.state.host_object(target.synced, target.key).filter(|host| host.uid() == uid);
        let (Some(mut host), Some(desired)) = (host, desired) else { return Err(refusal) };
        let mut requested = Cow::Borrowed(desired);
        loop {
            let Some(relaxed) = relax(target.synced, &requested, &refusal) else { return Err(refusal) };
            match self.patch_to(target, &relaxed, &mut host).await {
                Ok(()) => return Ok(host),
                Err(error) => refusal = error,
            }
            requested = Cow::Owned(relaxed);
        }
    }

    async fn patch_to(
        &self,
        target: Target<'_>,
        desired: &HostObject,
        host: &mut Arc<HostObject>,
    ) -> Result<(), api::Error> {
        for change in plan::host_patches(&*target.synced.mapper, desired, host) {
            let name = HostName::of(host);
            *host = self.writer.patch_host(target.resource(), &name, host.uid(), &change).await?;
            self.state.host_answered(&target.key.kind, host);
        }
        Ok(())
    }

    async fn delete_host(
        &self,
        target: Target<'_>,
        name: &HostName,
        uid: &str,
        grace: Option<i64>,
    ) -> Result<(), Error> {
        let deleted = self.writer.delete_host(target.resource(), name, uid, grace).await;
        if let Some(object) = deleted.map_err(target.failed_to(Side::Host, "delete"))? {
            self.state.host_answered(&target.key.kind, &object);
        }
        Ok(())
    }
}

/// What to request after `error` was the host's answer to `requested`; none when there is nothing to leave to
/// the host. It names one refused field at a time, so each round leaves one more to it.
fn relax(synced: &SyncedKind, requested: &HostObject, error: &api::Error) -> Option<HostObject> {
    synced.mapper.patcher().relax(requested, error.refused_fields()?).filter(|next| next != requested)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::{Value, json};

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::testing::{Bench, echo, host_object, invalid, key, service};

    fn web() -> Key {
        key("v1/Service", "shop", "web")
    }

    /// A host that has `found` under the name of the Service already.
    fn taken(found: Value) -> Bench {
        let on_host = move |asked: &Asked| match asked.method {
            Method::POST => Answer::failure(409, "AlreadyExists"),
            Method::GET => Answer::ok(found.clone()),
            _ => echo(asked),
        };
        let bench = Bench::new(on_host, echo);
        bench.put_virtual("v1/Service", service("web", "5"));
        bench
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_of_somebody_else_under_our_name_is_left_alone_and_published() {
        let foreign = json!({"metadata": {"namespace": "team-a", "name": "web-x-shop-x-vc", "uid": "u"}});
        let bench = taken(foreign);
        let outcome = bench.syncer(Vec::new()).reconcile(&web()).await;
        assert_eq!(outcome, Outcome::Refused);
        let written = bench.host_requests.lines().into_iter().skip(2).collect::<Vec<_>>();
        assert_eq!(written, Vec::<String>::new(), "after the POST and the GET");
        assert_eq!(bench.reasons().await, ["Warning HostNameTaken"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_of_ours_that_the_cache_does_not_show_is_adopted_and_requeued() {
        let bench = taken(host_object("v1/Service", "shop", "web", "uid-1"));
        assert_eq!(bench.syncer(Vec::new()).reconcile(&web()).await, Outcome::Done);
        assert!(bench.state.synced(&web().kind).unwrap().host.contains("team-a", "web-x-shop-x-vc"));
        assert_eq!(bench.state.queue.next().await, Some(web()), "it is decided about again");
    }

    /// A host that does not give the address 10.96.0.7, and the Service; `was_there` if one was deleted lately.
    async fn refused(was_there: bool) -> Bench {
        let on_host = |asked: &Asked| {
            let wants = asked.method == Method::POST && asked.body["spec"].get("clusterIP").is_some();
            if wants { invalid(&["spec.clusterIPs"]) } else { echo(asked) }
        };
        let bench = Bench::new(on_host, echo);
        let (key, object) = (web(), service("web", "5"));
        bench.put_virtual("v1/Service", object);
        let host = &bench.state.synced(&key.kind).unwrap().host;
        if was_there {
            host.remove("team-a", "web-x-shop-x-vc", ResourceVersion::new("3"), Absence::Deleted);
        }
        assert_eq!(bench.syncer(Vec::new()).reconcile(&key).await, Outcome::Done);
        bench
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_host_cannot_give_is_left_to_it_after_a_deleted_predecessor_had_time_to_release_it() {
        for (was_there, requests) in [(false, 2), (true, 2 + RELEASES as usize)] {
            let bench = refused(was_there).await;
            let created = bench.host_requests.bodies(&Method::POST);
            assert_eq!(created.len(), requests, "{:?}", bench.host_requests.lines());
            let (last, earlier) = created.split_last().unwrap();
            assert!(earlier.iter().all(|body| body["spec"]["clusterIP"] == "10.96.0.7"), "{earlier:?}");
            assert_eq!(last["spec"].get("clusterIP"), None, "{last}");
            assert_eq!(bench.reasons().await, Vec::<String>::new());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_patch_that_the_host_refuses_is_relaxed_too() {
        let on_host = |asked: &Asked| {
            let node_port = asked.body.pointer("/spec/ports/0/nodePort");
            if asked.method == Method::PATCH && node_port.is_some_and(|port| !port.is_null()) {
                return invalid(&["spec.ports[0].nodePort"]);
            }
            echo(asked)
        };
        let bench = Bench::new(on_host, echo);
        let (syncer, key, mut object) = (bench.syncer(Vec::new()), web(), service("web", "5"));
        bench.put_virtual("v1/Service", object.clone());
        syncer.reconcile(&key).await;
        object["metadata"]["resourceVersion"] = "6".into();
        object["spec"]["type"] = "NodePort".into();
        object["spec"]["ports"] = json!([{"port": 80, "nodePort": 30080}]);
        bench.put_virtual("v1/Service", object);
        assert_eq!(syncer.reconcile(&key).await, Outcome::Done);
        let patches = bench.host_requests.bodies(&Method::PATCH);
        assert_eq!(patches.len(), 2, "{patches:?}");
        assert_eq!(patches[0]["spec"]["ports"][0]["nodePort"], 30080, "{}", patches[0]);
        assert_eq!(patches[1]["spec"]["type"], "NodePort", "{}", patches[1]);
    }

    /// A companion of Services that counts how often it is called.
    struct Counted(std::sync::atomic::AtomicUsize);

    impl crate::engine::companions::Companion for Counted {
        fn kind(&self) -> &'static str {
            "v1/Service"
        }

        fn ensure<'a>(
            &'a self,
            _: &'a weft_core::object::VirtualObject,
            _: &'a HostObject,
        ) -> crate::engine::companions::Work<'a, Outcome> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(std::future::ready(Ok(Outcome::Done)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn companions_are_called_also_when_the_host_refuses_a_patch_and_the_refusal_is_published() {
        let on_host = |asked: &Asked| match asked.method {
            Method::PATCH => Answer::failure(403, "Forbidden"),
            _ => echo(asked),
        };
        let bench = Bench::new(on_host, echo);
        let counted = Arc::new(Counted(0.into()));
        let (syncer, key) = (bench.syncer(vec![counted.clone()]), web());
        bench.put_virtual("v1/Service", service("web", "5"));
        assert_eq!(syncer.reconcile(&key).await, Outcome::Done);
        bench.put_virtual("v1/Service", service("other", "6"));
        assert_eq!(syncer.reconcile(&key).await, Outcome::Refused);
        assert_eq!(counted.0.load(std::sync::atomic::Ordering::Relaxed), 2);
        assert_eq!(bench.reasons().await, ["Warning HostRefused"]);
    }
}
