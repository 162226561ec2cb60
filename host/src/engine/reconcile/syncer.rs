//! The whole story of one pair: see, decide, write.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};
use weft_core::causes::causes;
use weft_core::keys::CLUSTER_LABEL;
use weft_core::names::HostName;
use weft_core::object::{HostObject, Key, VirtualObject};
use weft_core::plan::{self, Plan, Step};
use weft_core::spec::Life;

use crate::api::{self, Api};
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::kinds::{Kinds, SyncedKind};
use crate::engine::cache::state::State;
use crate::engine::cache::store::Absence;
use crate::engine::companions::Companions;
use crate::engine::events::recorder::Reason;
use crate::engine::queue::Outcome;
use crate::engine::reconcile::decide::{self, Decision, Observed};
use crate::engine::reconcile::error::Error;
use crate::engine::reconcile::publish::Publisher;

/// A server gives the address of a deleted Service up a moment after it has told of the deletion: what is
/// refused to its successor is asked for once more after this time.
const RELEASE: Duration = Duration::from_millis(100);
/// How often.
const RELEASES: u32 = 5;

/// Keeps pairs in step, one key at a time.
pub(crate) struct Syncer {
    pub(crate) state: Arc<State>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) host: Api<weft_core::object::Host>,
    pub(crate) companions: Companions,
    pub(crate) publisher: Publisher,
}

impl Syncer {
    /// Brings one pair into step, as far as it goes now.
    pub(crate) async fn reconcile(&self, key: &Key) -> Outcome {
        let kinds = self.state.kinds();
        let Some(synced) = kinds.synced(&key.kind) else {
            // Synced no more; so is what an answer that came late has left.
            self.state.set_reads(key, BTreeSet::new());
            return Outcome::Done;
        };
        if !synced.is_ready_for(key) {
            return Outcome::Done;
        }
        let observed = match self.see(key, synced).await {
            Ok(observed) => observed,
            Err(error) => {
                let source = synced.r#virtual.get(&key.name.namespace, &key.name.name);
                return self.failed(key, source.as_ref(), &error);
            }
        };
        match self.bring_into_step(key, &kinds, synced, &observed).await {
            Ok(outcome) => outcome,
            Err(error) => self.failed(key, observed.source.as_ref(), &error),
        }
    }

    async fn bring_into_step(
        &self,
        key: &Key,
        kinds: &Arc<Kinds>,
        synced: &Arc<SyncedKind>,
        observed: &Observed,
    ) -> Result<Outcome, Error> {
        let notes = self.publisher.notes(key, &*synced.mapper);
        let decided = decide::decide(&self.state, kinds, synced, key, observed, notes).await;
        let Decision { plan, notes } =
            decided.map_err(|source| Error::Panicked { name: key.to_string(), source })?;
        let told = match &observed.source {
            Some(source) => self.publisher.tell(key, &*synced.mapper, source, &plan, notes),
            None => Outcome::Done,
        };
        Ok(self.carry_out(key, synced, observed, plan).await?.and(told))
    }

    async fn see(&self, key: &Key, synced: &SyncedKind) -> Result<Observed, Error> {
        let source = synced.r#virtual.get(&key.name.namespace, &key.name.name);
        let mut host = self.state.host_object(synced, key);
        // The virtual pod would be deleted for want of a host pod, so the host itself is asked, unless it
        // has said that the pod was deleted.
        let is_process = synced.mapper.spec().policy.life == Life::Process;
        if let (Some(source), None, true) = (&source, &host, is_process)
            && plan::has_run(source)
        {
            host = self.confirm(key, synced).await?;
        }
        Ok(Observed { source, host })
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
                synced.host.readmit(Arc::new(object));
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
            Err(error) => Err(Side::Host.failed_to("read", key.to_string())(error).into()),
        }
    }

    async fn carry_out(
        &self,
        key: &Key,
        synced: &SyncedKind,
        observed: &Observed,
        plan: Plan,
    ) -> Result<Outcome, Error> {
        let mut host = observed.host.clone();
        for step in plan.steps {
            debug!(%key, step = step.name(), "writing");
            if let Some(written) = self.write(key, synced, plan.desired.as_ref(), step).await? {
                host = Some(written);
            }
        }
        let (Some(source), Some(host)) = (&observed.source, &host) else { return Ok(Outcome::Done) };
        Ok(self.companions.ensure(&key.kind, source, host).await?)
    }

    /// Carries out one step towards `desired`; gives the host object when the step made or changed it.
    async fn write(
        &self,
        key: &Key,
        synced: &SyncedKind,
        desired: Option<&HostObject>,
        step: Step,
    ) -> Result<Option<Arc<HostObject>>, Error> {
        let resource = &synced.mapper.spec().resource;
        let failed_host = |action| Side::Host.failed_to(action, key.to_string());
        let failed_virtual = |action| Side::Virtual.failed_to(action, key.to_string());
        match step {
            Step::CreateHost(object) => {
                let created = self.create(key, synced, &object).await?;
                self.state.host_answered(&key.kind, &created);
                return Ok(Some(created));
            }
            Step::PatchHost { name, uid, change } => {
                let patched = match self.writer.patch_host(resource, &name, &uid, &change).await {
                    Ok(patched) => patched,
                    Err(refusal) => self
                        .patch_relaxed(key, synced, desired, &uid, refusal)
                        .await
                        .map_err(failed_host("patch"))?,
                };
                self.state.host_answered(&key.kind, &patched);
                return Ok(Some(patched));
            }
            Step::DeleteHost { name, uid, grace } => {
                let deleted = self.writer.delete_host(resource, &name, &uid, grace).await;
                if let Some(object) = deleted.map_err(failed_host("delete"))? {
                    self.state.host_answered(&key.kind, &object);
                }
            }
            // The store does not show the last one yet.
            Step::Bind { uid, .. } if self.state.is_bound(&uid) => {}
            Step::Bind { name, uid, node } => {
                self.companions.before_bind(&key.kind, &node).await?;
                match self.writer.bind(resource, &name, &uid, &node).await {
                    // Bound already, by an earlier try whose answer was lost, or gone: the next event tells.
                    Err(error) if error.code() == Some(409) || error.is_not_found() => {}
                    result => {
                        result.map_err(failed_virtual("bind"))?;
                        self.state.set_bound(&uid);
                    }
                }
            }
            Step::PatchVirtual { name, uid, change } => {
                match self.writer.patch_virtual(resource, &name, &uid, &change).await {
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(failed_virtual("patch")(error).into()),
                    Ok(object) => self.state.virtual_answered(&key.kind, &object),
                }
            }
            Step::DeleteVirtual { name, uid, grace } => {
                match self.writer.delete_virtual(resource, &name, &uid, grace).await {
                    // Another object of that name: the next event tells.
                    Err(error) if error.is_conflict() => {}
                    Err(error) => return Err(failed_virtual("delete")(error).into()),
                    Ok(None) => {}
                    Ok(Some(object)) => self.state.virtual_answered(&key.kind, &object),
                }
            }
        }
        Ok(None)
    }

    /// Creates a host object; leaves to the host what it cannot give as asked; finds out whose object is
    /// there when there is one already.
    async fn create(
        &self,
        key: &Key,
        synced: &SyncedKind,
        object: &HostObject,
    ) -> Result<Arc<HostObject>, Error> {
        let resource = &synced.mapper.spec().resource;
        let mut relaxed: Option<HostObject> = None;
        let was_there = synced.host.was_there(self.state.names.namespace(), object.name());
        let mut patience = if was_there { RELEASES } else { 0 };
        loop {
            let error = match self.writer.create_host(resource, relaxed.as_ref().unwrap_or(object)).await {
                Ok(created) => return Ok(created),
                Err(error) if error.is_already_exists() => return self.adopt(key, synced, object).await,
                Err(error) => error,
            };
            match relax(synced, relaxed.as_ref().unwrap_or(object), &error) {
                Some(_) if patience > 0 => {
                    patience -= 1;
                    tokio::time::sleep(RELEASE).await;
                }
                Some(next) => relaxed = Some(next),
                None => return Err(Side::Host.failed_to("create", key.to_string())(error).into()),
            }
        }
    }

    /// After the host has refused a patch of the object of this UID: leaves to the host what it cannot give
    /// as asked. The digest stays that of what the tenant asks for, so that it is not asked again.
    async fn patch_relaxed(
        &self,
        key: &Key,
        synced: &SyncedKind,
        desired: Option<&HostObject>,
        uid: &str,
        mut refusal: api::Error,
    ) -> Result<Arc<HostObject>, api::Error> {
        // The cache has what earlier steps wrote.
        let host = self.state.host_object(synced, key).filter(|host| host.uid() == uid);
        let (Some(mut host), Some(desired)) = (host, desired) else { return Err(refusal) };
        let mut asked = Cow::Borrowed(desired);
        loop {
            let Some(relaxed) = relax(synced, &asked, &refusal) else { return Err(refusal) };
            match self.patch_to(key, synced, &relaxed, &mut host).await {
                Ok(()) => return Ok(host),
                Err(error) => refusal = error,
            }
            asked = Cow::Owned(relaxed);
        }
    }

    async fn patch_to(
        &self,
        key: &Key,
        synced: &SyncedKind,
        desired: &HostObject,
        host: &mut Arc<HostObject>,
    ) -> Result<(), api::Error> {
        for change in plan::host_patches(&*synced.mapper, desired, host) {
            let (resource, name) = (&synced.mapper.spec().resource, HostName::of(host));
            *host = self.writer.patch_host(resource, &name, host.uid(), &change).await?;
            self.state.host_answered(&key.kind, host);
        }
        Ok(())
    }

    async fn adopt(
        &self,
        key: &Key,
        synced: &SyncedKind,
        object: &HostObject,
    ) -> Result<Arc<HostObject>, Error> {
        let failed = |action| Side::Host.failed_to(action, key.to_string());
        let (resource, namespace) = (&synced.mapper.spec().resource, self.state.names.namespace());
        let found = self.host.get(resource, namespace, object.name()).await.map_err(failed("read"))?;
        if self.companions.is_stale(&found, &key.name.namespace) {
            let stale = HostName::of(&found);
            let deleted = self.writer.delete_host(resource, &stale, found.uid(), None).await;
            deleted.map_err(failed("replace"))?;
            return Ok(self.writer.create_host(resource, object).await.map_err(failed("create"))?);
        }
        if self.state.key_of(&found, &key.kind).as_ref() != Some(key) {
            return Err(Error::NameTaken(HostName::of(object).to_string()));
        }
        // Ours, and not in the cache yet: decide again with it in observed.
        let found = Arc::new(found);
        synced.host.readmit(found.clone());
        self.state.queue.add(key.clone());
        Ok(found)
    }

    fn failed(&self, key: &Key, source: Option<&Arc<VirtualObject>>, error: &Error) -> Outcome {
        let (reason, retry_after) = match error {
            Error::NameTaken(_) => (Some(Reason::NameTaken), None),
            Error::Failed(Failed { side, source, .. }) => {
                let reason = match side {
                    Side::Host => Reason::HostRefused,
                    Side::Virtual => Reason::VirtualRefused,
                };
                (source.is_refusal().then_some(reason), source.retry_after())
            }
            Error::Panicked { .. } => (Some(Reason::Panicked), None),
        };
        if let (Some(reason), Some(object)) = (reason, source) {
            warn!(%key, error = error as &dyn std::error::Error, "not in step; trying again");
            self.publisher.tell_reason(key, object, reason, &causes(error));
        } else {
            debug!(%key, error = error as &dyn std::error::Error, "failed; trying again");
        }
        Outcome::Failed(retry_after)
    }
}

/// What to ask for after `error` was the host's answer to `asked`; none when there is nothing to leave to
/// the host. It names one refused field at a time, so each round leaves one more to it.
fn relax(synced: &SyncedKind, asked: &HostObject, error: &api::Error) -> Option<HostObject> {
    synced.mapper.patcher().relax(asked, error.refused_fields()?).filter(|next| next != asked)
}
