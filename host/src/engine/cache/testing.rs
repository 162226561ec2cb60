//! What tests of the caches stand on: objects of the virtual namespace `shop`, and what their changes queue.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use weft_core::keys::IDENTITY;
use weft_core::names::Identity;
use weft_core::object::{Kind, VirtualName, VirtualObject};

use crate::engine::cache::changed::Changed;
use crate::engine::cache::state::State;
use crate::engine::queue::Outcome;
use crate::engine::testing::Bench;

/// The keys that are ready, each as `Pod shop/web`.
pub(in crate::engine) async fn queued(state: &State) -> Vec<String> {
    let mut keys = Vec::new();
    while let Ok(Some(key)) = tokio::time::timeout(Duration::from_millis(1), state.queue.next()).await {
        state.queue.done(&key, Outcome::Done);
        keys.push(format!("{} {}", key.kind.short(), key.name));
    }
    keys
}

pub(super) fn object(name: &str, version: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": version}})
}

/// A pod whose containers get their environment from these ConfigMaps.
pub(super) fn pod(version: &str, config_maps: &[&str]) -> Value {
    let from: Vec<Value> = config_maps.iter().map(|name| json!({"configMapRef": {"name": name}})).collect();
    let mut pod = object("web", version);
    pod["spec"] = json!({"containers": [{"name": "main", "envFrom": from}]});
    pod
}

pub(super) fn on_node(mut pod: Value, node: &str) -> Value {
    pod["spec"]["nodeName"] = node.into();
    pod
}

pub(in crate::engine) fn service(namespace: &str, name: &str, address: &str) -> Value {
    let metadata = json!({"namespace": namespace, "name": name, "resourceVersion": "5"});
    json!({"metadata": metadata, "spec": {"clusterIPs": [address]}})
}

/// The same on the host, as ours.
pub(super) fn host_version(state: &State, kind: &str, mut object: Value) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let host_name = state.names.host_name(&VirtualName::new(&*namespace, &*name));
    let identity = Identity {
        cluster: state.names.cluster().to_owned(),
        kind: kind.to_owned(),
        namespace,
        name,
        uid: "uid".to_owned(),
    };
    object["metadata"]["namespace"] = state.names.namespace().into();
    object["metadata"]["name"] = host_name.as_str().into();
    object["metadata"]["annotations"] = json!({IDENTITY: identity.to_text()});
    object
}

pub(in crate::engine) fn changed(bench: &Bench, kind: &str, object: Value) {
    let object = bench.put_virtual(kind, object);
    bench.state.virtual_changed(&Kind::new(kind), &Changed::new(object));
}

pub(super) fn removed(bench: &Bench, kind: &str, object: Value) {
    let last = Arc::new(VirtualObject::from_json(object).unwrap());
    let (namespace, name) = (last.namespace().to_owned(), last.name().to_owned());
    let changed = Changed { namespace, name, object: None, last: Some(last) };
    bench.state.virtual_changed(&Kind::new(kind), &changed);
}
