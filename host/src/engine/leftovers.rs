//! Clears away what the host's controllers leave behind when a Service loses its selector: Endpoints and
//! slices that still send people to the old pods, and that stand where the tenant's own are to be.
//!
//! What the virtual controllers have left is the tenant's to clear away, as in any cluster; on the host no
//! tenant can reach it. So what is left there goes with what was left in the virtual cluster.

use std::sync::Arc;

use serde_json::Value;
use weft_core::kinds::{endpoint_slice, endpoints};
use weft_core::labels;
use weft_core::names::{HostName, Identity};
use weft_core::object::{HostObject, Kind, Object, VirtualObject};

use crate::api;
use crate::engine::apply::Writer;
use crate::engine::queue::Outcome;
use crate::engine::state::State;
use crate::engine::store::Store;
use crate::engine::syncer::Error;

const ENDPOINTS: &str = "v1/Endpoints";
const SLICES: &str = "discovery.k8s.io/v1/EndpointSlice";

/// What the API keeps of a long name to generate others from.
const GENERATED_PREFIX: usize = 58;

/// Finds and removes leftovers.
pub(crate) struct Leftovers {
    state: Arc<State>,
    writer: Arc<Writer>,
}

impl Leftovers {
    pub(crate) fn new(state: Arc<State>, writer: Arc<Writer>) -> Self {
        Self { state, writer }
    }

    /// Removes what was left of a Service that has no selector on either side.
    pub(crate) async fn clear(&self, source: &VirtualObject, host: &HostObject) -> Result<Outcome, Error> {
        if has_selector(source) || has_selector(host) {
            return Ok(Outcome::Done);
        }
        for kind in [ENDPOINTS, SLICES].map(Kind::new) {
            let Some(pair) = self.state.pair(&kind) else { continue };
            if !made_by_controllers(&pair.r#virtual, source).is_empty() {
                continue;
            }
            for object in made_by_controllers(&pair.host, host) {
                if !self.is_left(&object, source.namespace()) {
                    continue;
                }
                self.remove(&kind, &object).await.map_err(|source| Error::Host {
                    action: "clear away what a controller left of",
                    name: format!("{kind} {}", object.name()),
                    source,
                })?;
            }
        }
        Ok(Outcome::Done)
    }

    /// Whether a controller of the host has made `object` from a Service of ours in this virtual namespace:
    /// such objects have the labels of their Service, and nobody's identity.
    pub(crate) fn is_left(&self, object: &HostObject, namespace: &str) -> bool {
        let scope = labels::scope(&self.state.names, namespace);
        Identity::of(object).is_none()
            && is_controllers(object)
            && scope.iter().all(|(key, value)| object.label(key) == value.as_str())
    }

    /// Removes one, if it still is the object that was looked at.
    pub(crate) async fn remove(&self, kind: &Kind, object: &HostObject) -> Result<(), api::Error> {
        let Some(pair) = self.state.pair(kind) else { return Ok(()) };
        let (resource, name) = (&pair.mapper.spec().resource, HostName::of(object));
        self.writer.delete_host(resource, &name, object.uid(), None).await.map(drop)
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
