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
    let is_of = |object: &Arc<Object<S>>| {
        is_controllers(object)
            && object.label(endpoint_slice::SERVICE_LABEL).unwrap_or(object.name()) == service.name()
    };
    let mut near = store.names_in(service.namespace(), &prefix);
    if !service.name().starts_with(&prefix) {
        near.push(service.name().to_owned());
    }
    near.iter().filter_map(|name| store.get(service.namespace(), name)).filter(is_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;
    use weft_core::keys::NAMESPACE_LABEL;

    use crate::engine::testing::{Bench, host_object};

    const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
    const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

    /// What the host's controller has made of the Service `shop/web`, without our identity.
    fn endpoints() -> Value {
        let mut object = host_object(ENDPOINTS, "shop", "web", "uid-1");
        object["metadata"]["annotations"] = json!({});
        object["metadata"]["labels"][MANAGED_BY] = "endpoint-controller".into();
        object
    }

    fn slice() -> Value {
        let mut object = endpoints();
        object["metadata"]["name"] = "web-x-shop-x-vc-abcde".into();
        object["metadata"]["uid"] = "uid-slice".into();
        object["metadata"]["labels"][SLICE_MANAGED_BY] = "endpointslice-controller.k8s.io".into();
        object["metadata"]["labels"][endpoint_slice::SERVICE_LABEL] = "web-x-shop-x-vc".into();
        object
    }

    fn services(selector: &Value) -> (VirtualObject, HostObject) {
        let metadata = json!({"namespace": "shop", "name": "web", "uid": "uid-1"});
        let source = VirtualObject::from_json(json!({"metadata": metadata, "spec": {"selector": selector}}));
        let host = HostObject::from_json(host_object("v1/Service", "shop", "web", "uid-1"));
        (source.unwrap(), host.unwrap())
    }

    /// What is deleted of a Service without a selector when the host has these.
    async fn deleted(endpoints: Value, slice: Value, prepare: impl FnOnce(&Bench)) -> Vec<String> {
        let bench = Bench::echoing();
        bench.put_host(ENDPOINTS, endpoints);
        bench.put_host(SLICES, slice);
        prepare(&bench);
        let (source, host) = services(&json!({}));
        let companion = StaleEndpoints::new(bench.state.clone(), bench.writer.clone());
        assert_eq!(companion.ensure(&source, &host).await.unwrap(), Outcome::Done);
        assert!(bench.virtual_requests.all().is_empty(), "the tenant's are the tenant's to delete");
        bench.host_requests.lines()
    }

    const OF_ENDPOINTS: &str = "DELETE /api/v1/namespaces/team-a/endpoints/web-x-shop-x-vc";
    const OF_SLICE: &str =
        "DELETE /apis/discovery.k8s.io/v1/namespaces/team-a/endpointslices/web-x-shop-x-vc-abcde";

    #[tokio::test]
    async fn what_controllers_have_left_of_a_service_without_selector_is_deleted() {
        assert_eq!(deleted(endpoints(), slice(), |_| {}).await, [OF_ENDPOINTS, OF_SLICE]);
    }

    #[tokio::test]
    async fn endpoints_of_other_services_are_not_visited() {
        let bench = Bench::echoing();
        for kind in [ENDPOINTS, SLICES] {
            for number in 0..300 {
                let name = format!("other-{number}");
                let metadata = json!({"namespace": "shop", "name": name, "resourceVersion": "5"});
                bench.put_virtual(kind, json!({"metadata": metadata}));
                bench.put_host(kind, host_object(kind, "shop", &name, "uid"));
            }
        }
        let (source, host) = services(&json!({}));
        let companion = StaleEndpoints::new(bench.state.clone(), bench.writer.clone());
        companion.ensure(&source, &host).await.unwrap();
        for kind in [ENDPOINTS, SLICES].map(Kind::new) {
            let synced = bench.state.synced(&kind).unwrap();
            let visited = synced.r#virtual.visited() + synced.host.visited();
            assert!(visited <= 2, "{visited} of {kind}: see made_by_controllers");
        }
    }

    #[tokio::test]
    async fn endpoints_of_a_service_with_the_longest_name_are_found() {
        let long = "s".repeat(63);
        let store: Store<weft_core::object::Virtual> = Store::default();
        let slice = format!("{}abcde", &long[..GENERATED_PREFIX]);
        for name in [&long, &slice, &"s".repeat(62)] {
            let labels = json!({MANAGED_BY: "endpoint-controller", endpoint_slice::SERVICE_LABEL: long});
            let labels = if name.len() == 62 { json!({}) } else { labels };
            let metadata =
                json!({"namespace": "shop", "name": name, "resourceVersion": "5", "labels": labels});
            store.put(Arc::new(VirtualObject::from_json(json!({"metadata": metadata})).unwrap()));
        }
        let service = json!({"metadata": {"namespace": "shop", "name": long}});
        let found = made_by_controllers(&store, &VirtualObject::from_json(service).unwrap());
        let names: Vec<&str> = found.iter().map(|object| object.name()).collect();
        assert_eq!(names, [&*slice, &*long], "and each once");
    }

    #[tokio::test]
    async fn what_is_of_others_is_left() {
        type Case = (&'static str, fn(&mut Value));
        let cases: [Case; 4] = [
            ("written by people", |object| {
                object["metadata"]["labels"][MANAGED_BY] = Value::Null;
                object["metadata"]["labels"][SLICE_MANAGED_BY] = Value::Null;
            }),
            ("of a pair of ours", |object| {
                let paired = host_object(ENDPOINTS, "shop", "web", "uid-1");
                object["metadata"]["annotations"] = paired["metadata"]["annotations"].clone();
            }),
            ("of another virtual namespace", |object| {
                object["metadata"]["labels"][NAMESPACE_LABEL] = "bank".into();
            }),
            ("of another Service", |object| {
                object["metadata"]["labels"][endpoint_slice::SERVICE_LABEL] = "web-2-x-shop-x-vc".into();
            }),
        ];
        for (title, change) in cases {
            let (mut endpoints, mut slice) = (endpoints(), slice());
            change(&mut endpoints);
            change(&mut slice);
            assert_eq!(deleted(endpoints, slice, |_| {}).await, Vec::<String>::new(), "{title}");
        }
    }

    #[tokio::test]
    async fn they_stay_while_the_virtual_side_has_its_own() {
        let labels = json!({MANAGED_BY: "endpoint-controller"});
        let metadata =
            json!({"namespace": "shop", "name": "web", "uid": "u", "resourceVersion": "1", "labels": labels});
        let left = deleted(endpoints(), slice(), |bench| {
            bench.put_virtual(ENDPOINTS, json!({"metadata": metadata}));
        });
        assert_eq!(left.await, [OF_SLICE], "the tenant still has Endpoints, and no slice");
    }

    #[tokio::test]
    async fn a_service_with_a_selector_keeps_its_endpoints() {
        let bench = Bench::echoing();
        bench.put_host(ENDPOINTS, endpoints());
        let (source, host) = services(&json!({"app": "web"}));
        let companion = StaleEndpoints::new(bench.state.clone(), bench.writer.clone());
        companion.ensure(&source, &host).await.unwrap();
        assert!(bench.host_requests.all().is_empty(), "{:?}", bench.host_requests.lines());
    }

    #[tokio::test]
    async fn an_object_that_is_in_the_way_is_stale_for_its_own_virtual_namespace_only() {
        let bench = Bench::echoing();
        let companion = StaleEndpoints::new(bench.state.clone(), bench.writer.clone());
        let object = HostObject::from_json(endpoints()).unwrap();
        assert!(companion.is_stale(&object, "shop") && !companion.is_stale(&object, "bank"));
    }
}
