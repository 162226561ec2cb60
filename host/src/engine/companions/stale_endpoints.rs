//! Deletes what the host's controllers leave behind when a Service loses its selector: Endpoints and slices that
//! still route to the old pods, under the names of the tenant's own.
//!
//! What the virtual controllers leave behind is the tenant's to delete, as in any cluster; on the host no tenant
//! can reach it. So the stale objects there go with those in the virtual cluster.

use std::sync::Arc;

use serde_json::Value;
use weft_core::kinds::{endpoint_slice, endpoints};
use weft_core::labels;
use weft_core::names::{HostName, Identity};
use weft_core::object::{HostObject, Kind, Object, VirtualObject};

use crate::api;
use crate::engine::apply::{Failed, Side, Writer};
use crate::engine::cache::state::State;
use crate::engine::cache::store::Store;
use crate::engine::companions::{Companion, Work};
use crate::engine::queue::Outcome;

const ENDPOINTS: &str = "v1/Endpoints";
const SLICES: &str = "discovery.k8s.io/v1/EndpointSlice";

/// What the API keeps of a long name to generate others from.
const GENERATED_PREFIX: usize = 58;

/// Finds and deletes stale endpoints.
pub(crate) struct StaleEndpoints {
    state: Arc<State>,
    writer: Arc<Writer>,
}

impl StaleEndpoints {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>) -> Self {
        Self { state, writer }
    }

    /// Deletes the stale endpoints of a Service that has no selector on either side.
    async fn delete_all(&self, source: &VirtualObject, host: &HostObject) -> Result<Outcome, Failed> {
        if has_selector(source) || has_selector(host) {
            return Ok(Outcome::Done);
        }
        for kind in [ENDPOINTS, SLICES].map(Kind::new) {
            let Some(synced) = self.state.synced(&kind) else { continue };
            if !made_by_controllers(&synced.r#virtual, source).is_empty() {
                continue;
            }
            for object in made_by_controllers(&synced.host, host) {
                if !self.is_stale(&object, source.namespace()) {
                    continue;
                }
                let failed = Side::Host.failed_to("delete the stale", format!("{kind} {}", object.name()));
                self.delete(&kind, &object).await.map_err(failed)?;
            }
        }
        Ok(Outcome::Done)
    }

    /// Deletes one, if it still is the object that was seen.
    async fn delete(&self, kind: &Kind, object: &HostObject) -> Result<(), api::Error> {
        let Some(synced) = self.state.synced(kind) else { return Ok(()) };
        let (resource, name) = (&synced.mapper.spec().resource, HostName::of(object));
        self.writer.delete_host(resource, &name, object.uid(), None).await.map(drop)
    }
}

impl Companion for StaleEndpoints {
    fn kind(&self) -> &'static str {
        "v1/Service"
    }

    fn ensure<'a>(&'a self, source: &'a VirtualObject, host: &'a HostObject) -> Work<'a, Outcome> {
        Box::pin(self.delete_all(source, host))
    }

    /// What the host's controllers make from a Service of ours has the labels of that Service, and nobody's identity.
    fn is_stale(&self, object: &HostObject, namespace: &str) -> bool {
        let scope = labels::scope(&self.state.names, namespace);
        Identity::of(object).is_none()
            && is_controllers(object)
            && scope.iter().all(|(key, value)| object.label(key) == value.as_str())
    }
}

fn has_selector<S>(service: &Object<S>) -> bool {
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    selector.is_some_and(|selector| !selector.is_empty())
}

fn is_controllers<S>(object: &Object<S>) -> bool {
    endpoints::is_made_by_controller(object) || endpoint_slice::is_made_by_controller(object)
}

/// The Endpoints or slices that controllers have made of a Service on one side.
fn made_by_controllers<S>(store: &Store<S>, service: &Object<S>) -> Vec<Arc<Object<S>>> {
    let prefix: String = format!("{}-", service.name()).chars().take(GENERATED_PREFIX).collect();
    let is_near = |(namespace, name): &(String, String)| {
        namespace == service.namespace() && (name == service.name() || name.starts_with(&prefix))
    };
    let is_of = |object: &Arc<Object<S>>| {
        is_controllers(object)
            && object.label(endpoint_slice::SERVICE_LABEL).unwrap_or(object.name()) == service.name()
    };
    let near = store.names().into_iter().filter(is_near);
    near.filter_map(|(namespace, name)| store.get(&namespace, &name)).filter(is_of).collect()
}
