//! The variables by which containers learn of Services: a ConfigMap on the host for each virtual namespace with pods.
//!
//! A host pod names it, and is created once it is there and up to date. It follows the Services: running containers keep
//! what they have, as with a kubelet, and those that start later get what is true then.

mod config_map;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use weft_core::kinds::pod::environment::{config_map_name, scope, service_variables};
use weft_core::object::{Host, HostObject, Key, Kind, ResourceType, VirtualObject};

use crate::api::{self, Api};
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::cache::state::environments::{ENVIRONMENT, environment};
use crate::engine::companions::{Companion, Work};
use crate::engine::queue::Outcome;
use crate::engine::resources::config_maps;
use config_map::{compose, difference, is_ours};

/// How often the ConfigMap of a namespace follows its Services while they change: once for many in a burst.
const PACE: Duration = Duration::from_secs(1);

/// Keeps these ConfigMaps.
pub(crate) struct Environments {
    state: Arc<State>,
    writer: Arc<Writer>,
    host: Api<Host>,
    config_maps: ResourceType,
    /// When the ConfigMap of a scope last followed its Services.
    followed: Mutex<HashMap<String, Instant>>,
}

impl Environments {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>, host: Api<Host>) -> Self {
        Self { state, writer, host, config_maps: config_maps(), followed: Mutex::default() }
    }

    /// Brings the ConfigMap of a scope up to date; whether something was written.
    async fn ensure(&self, scope: &str) -> Result<bool, api::Error> {
        let facts = self.state.facts();
        // Without an address of the API server there is no pod either.
        let Some(kubernetes) = facts.kubernetes.first() else { return Ok(false) };
        let variables = service_variables(&self.state.services_of(scope), scope, *kubernetes);
        let wanted = compose(&self.state.names, facts.owner.as_ref(), scope, &variables);
        match self.found(scope) {
            Some(found) => self.patch(scope, &found, &wanted).await,
            None => self.create(scope, &wanted).await.map(|()| true),
        }
    }

    fn found(&self, scope: &str) -> Option<Arc<HostObject>> {
        let name = config_map_name(&self.state.names, scope);
        self.state.synced(&self.config_maps.kind())?.host.get(self.state.names.namespace(), name.as_str())
    }

    async fn create(&self, scope: &str, wanted: &HostObject) -> Result<(), api::Error> {
        match self.writer.create_host(&self.config_maps, wanted).await {
            Err(taken) if taken.is_already_exists() => self.adopt(scope, wanted, taken).await,
            created => {
                self.store(scope, created?);
                Ok(())
            }
        }
    }

    /// What to do about a ConfigMap of our name that the cache does not show: the watch is late, or its labels are gone.
    async fn adopt(&self, scope: &str, wanted: &HostObject, taken: api::Error) -> Result<(), api::Error> {
        let namespace = self.state.names.namespace();
        let found = Arc::new(self.host.get(&self.config_maps, namespace, wanted.name()).await?);
        if !is_ours(&self.state.names, self.state.facts().owner.as_ref(), &found) {
            return Err(taken);
        }
        self.store(scope, found.clone());
        self.patch(scope, &found, wanted).await.map(drop)
    }

    async fn patch(&self, scope: &str, found: &HostObject, wanted: &HostObject) -> Result<bool, api::Error> {
        let Some(change) = difference(found, wanted) else { return Ok(false) };
        let name = config_map_name(&self.state.names, scope);
        let patched = self.writer.patch_host(&self.config_maps, &name, found.uid(), &change).await?;
        self.store(scope, patched);
        Ok(true)
    }

    /// Puts what the host has now into the cache. A Service may have changed since its content was decided, and with the
    /// answer in the cache no watch event will say so.
    fn store(&self, scope: &str, stored: Arc<HostObject>) {
        if let Some(synced) = self.state.synced(&self.config_maps.kind()) {
            synced.host.readmit(stored);
        }
        self.state.queue.add(environment(scope));
    }

    /// Follows the Services of a scope, or deletes the ConfigMap of a namespace that is gone.
    async fn follow(&self, scope: &str) -> Result<Outcome, Failed> {
        if let Some(pause) = self.pause(scope) {
            return Ok(Outcome::Again(pause));
        }
        let is_there = scope.is_empty() || self.state.namespaces.contains("", scope);
        match self.found(scope) {
            Some(found) if !is_there => {
                self.delete(scope, &found).await.map_err(failed_to("delete", scope))?
            }
            None if !is_there || !self.has_pods(scope) => {}
            _ => {
                if self.ensure(scope).await.map_err(failed_to("write", scope))? {
                    self.record(scope);
                }
            }
        }
        Ok(Outcome::Done)
    }

    async fn delete(&self, scope: &str, found: &HostObject) -> Result<(), api::Error> {
        debug!(namespace = %scope, "deleting the variables of Services of a virtual namespace that is gone");
        let name = config_map_name(&self.state.names, scope);
        self.writer.delete_host(&self.config_maps, &name, found.uid(), None).await.map(drop)
    }

    /// Whether any pod may name the ConfigMap of a scope.
    fn has_pods(&self, scope: &str) -> bool {
        let pods = self.state.synced(&Kind::new(self.kind()));
        pods.is_some_and(|pods| scope.is_empty() || !pods.r#virtual.names_in(scope, "").is_empty())
    }

    /// How long to wait before the Services of a scope are followed again.
    fn pause(&self, scope: &str) -> Option<Duration> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        PACE.checked_sub(followed.get(scope)?.elapsed()).filter(|pause| !pause.is_zero())
    }

    fn record(&self, scope: &str) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, at| at.elapsed() < PACE);
        followed.insert(scope.to_owned(), Instant::now());
    }
}

impl Companion for Environments {
    fn kind(&self) -> &'static str {
        "v1/Pod"
    }

    fn before_create<'a>(&'a self, pod: &'a VirtualObject) -> Work<'a, ()> {
        let scope = scope(pod);
        Box::pin(async move { self.ensure(scope).await.map(drop).map_err(failed_to("write", scope)) })
    }

    /// A pod of an older version of the syncer names no ConfigMap, until somebody debugs it.
    fn ensure<'a>(&'a self, pod: &'a VirtualObject, _: &'a HostObject) -> Work<'a, Outcome> {
        self.state.environment_needed(scope(pod));
        Box::pin(std::future::ready(Ok(Outcome::Done)))
    }

    fn own_kind(&self) -> Option<&'static str> {
        Some(ENVIRONMENT)
    }

    fn reconcile<'a>(&'a self, key: &'a Key) -> Work<'a, Outcome> {
        Box::pin(self.follow(&key.name.namespace))
    }
}

fn failed_to(action: &'static str, scope: &str) -> impl FnOnce(api::Error) -> Failed {
    let name = match scope {
        "" => "the ConfigMap with the variables of the API server's Service".to_owned(),
        _ => format!(
            "the ConfigMap with the variables of the Services in {scope} (a pod with `enableServiceLinks: false` needs none)"
        ),
    };
    Side::Host.failed_to(action, name)
}

#[cfg(test)]
mod tests;
