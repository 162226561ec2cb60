//! Reconciles one pair: observe, decide, publish, write.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{debug, warn};
use weft_core::causes::causes;
use weft_core::keys::CLUSTER_LABEL;
use weft_core::object::{Host, HostObject, Key, VirtualObject};
use weft_core::plan;
use weft_core::spec::Life;

use crate::api::Api;
use crate::engine::apply::{Failed, Side};
use crate::engine::cache::kinds::{Kinds, SyncedKind};
use crate::engine::cache::state::State;
use crate::engine::cache::store::Absence;
use crate::engine::events::reason::Reason;
use crate::engine::queue::Outcome;
use crate::engine::reconcile::decide::{self, Decision, Observed};
use crate::engine::reconcile::error::Error;
use crate::engine::reconcile::publish::Publisher;
use crate::engine::reconcile::steps::Steps;

/// Keeps pairs in step, one key at a time.
pub(crate) struct Syncer {
    pub(crate) state: Arc<State>,
    pub(crate) host: Api<Host>,
    pub(crate) publisher: Publisher,
    pub(crate) steps: Steps,
}

impl Syncer {
    /// Brings one pair into step, as far as it goes now.
    pub(crate) async fn reconcile(&self, key: &Key) -> Outcome {
        let kinds = self.state.kinds();
        let Some(synced) = kinds.synced(&key.kind) else {
            // No longer synced; an answer that came late may have left reads behind.
            self.state.set_reads(key, BTreeSet::new());
            return Outcome::Done;
        };
        if !synced.is_ready_for(key) {
            return Outcome::Done;
        }
        let observed = match self.observe(key, synced).await {
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
        let published = match &observed.source {
            Some(source) => self.publisher.publish(key, &*synced.mapper, source, &plan, notes),
            None => Outcome::Done,
        };
        Ok(self.steps.carry_out(key, synced, observed, plan).await?.and(published))
    }

    async fn observe(&self, key: &Key, synced: &SyncedKind) -> Result<Observed, Error> {
        let source = synced.r#virtual.get(&key.name.namespace, &key.name.name);
        let mut host = self.state.host_object(synced, key);
        // The virtual pod would be deleted for want of a host pod, so the host itself is asked, unless it
        // has shown that the pod was deleted.
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
            self.publisher.publish_reason(key, object, reason, &causes(error));
        } else {
            debug!(%key, error = error as &dyn std::error::Error, "failed; trying again");
        }
        Outcome::Failed(retry_after)
    }
}
