//! Carries out the steps of a plan, and deals with what servers answer to them.

mod on_virtual;
mod relaxed;
mod way_back;

use std::borrow::Cow;
use std::sync::Arc;

use tracing::debug;
use weft_core::change::Change;
use weft_core::names::HostName;
use weft_core::object::{Host, HostObject, Key, ResourceType};
use weft_core::plan::{Plan, Step};

use crate::api::{self, Api};
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::kinds::SyncedKind;
use crate::engine::cache::state::State;
use crate::engine::companions::Companions;
use crate::engine::queue::Outcome;
use crate::engine::reconcile::error::Error;
use crate::engine::reconcile::observe::Observed;
use way_back::WayBack;

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

    fn failed_to(
        self,
        side: Side,
        action: impl Into<Cow<'static, str>>,
    ) -> impl FnOnce(api::Error) -> Failed {
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
        let mut back = WayBack::new(observed.source.clone(), plan.flows_back);
        for step in plan.steps {
            debug!(%key, step = step.name(), "writing");
            match self.write(Target { key, synced }, observed, plan.desired.as_ref(), &mut back, step).await {
                Ok(made) => host = made.or(host),
                Err(error) => {
                    written = Err(error);
                    break;
                }
            }
        }
        if let (Ok(()), Some(refusal)) = (&written, back.into_refusal()) {
            written = Err(refusal.into());
        }
        let (Some(source), Some(host)) = (&observed.source, &host) else {
            written?;
            if observed.source.is_none() && host.is_none() {
                self.companions.after_end(key).await?;
            }
            return Ok(Outcome::Done);
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
        observed: &Observed,
        desired: Option<&HostObject>,
        back: &mut WayBack,
        step: Step,
    ) -> Result<Option<Arc<HostObject>>, Error> {
        match step {
            Step::CreateHost(object) => {
                if let Some(source) = &observed.source {
                    self.companions.before_create(&target.key.kind, source).await?;
                }
                return self.create_host(target, &object).await.map(Some);
            }
            Step::PatchHost { name, uid, change } => {
                return self.patch_host(target, desired, &name, &uid, &change).await.map(Some);
            }
            Step::DeleteHost { name, uid, grace } => self.delete_host(target, &name, &uid, grace).await?,
            Step::Bind { name, uid, node } => self.bind(target, &name, &uid, &node).await?,
            Step::PatchVirtual { change, .. } => self.flow_back(target, back, &change).await?,
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
        // Ours, and not in the cache yet: it is decided again with it in view.
        let found = Arc::new(found);
        self.state.host_found(target.synced, &found);
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
        let patched = patched.map_err(|error| {
            let verb = self.verb_on_host(target, desired).filter(|_| error.is_refusal());
            target.failed_to(Side::Host, verb.unwrap_or("patch".into()))(error)
        })?;
        self.state.host_answered(&target.key.kind, &patched);
        Ok(patched)
    }

    fn verb_on_host(&self, target: Target<'_>, desired: Option<&HostObject>) -> Option<Cow<'static, str>> {
        let current = self.state.host_object(target.synced, target.key)?;
        Some(target.synced.mapper.patcher().verb_on_host(desired?, &current))
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::{Value, json};

    use crate::api::scripted::{Answer, Asked};
    use crate::engine::testing::{Bench, echo, host_object, key, service};

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
        let reader = key("v1/Pod", "shop", "reader");
        bench.state.set_reads(&reader, [web()].into());
        assert_eq!(bench.syncer(Vec::new()).reconcile(&web()).await, Outcome::Done);
        assert!(bench.state.synced(&web().kind).unwrap().host.contains("team-a", "web-x-shop-x-vc"));
        assert_eq!(bench.state.queue.next().await, Some(reader), "see State::host_found");
        assert_eq!(bench.state.queue.next().await, Some(web()), "it is decided about again");
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
