//! What a node of ours says of itself, and what one has to be made to say.

use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::context::Version;
use weft_core::keys::{FAKE_NODE_LABEL, MIRRORED_LABEL};
use weft_core::kinds::pod::status::node_address;
use weft_core::labels;
use weft_core::nodes::{self, patch, patch::NOT_READY};
use weft_core::object::{Fields, VirtualObject};

use crate::engine::cache::state::{State, is_our_node, is_spoilt};
use crate::engine::companions::nodes::Kubelet;

/// What a node declares whose kubelet takes WebSocket connections (KEP-4006): the virtual API server passes them on as they
/// are, and translates them to SPDY for any other.
const WEBSOCKETS: &str = "ExtendWebSocketsToKubelet";
/// Annotation by which metrics-server knows the path of a node's metrics. All of our nodes have one address and one port, so
/// the path says which is meant.
const METRICS_PATH: &str = "metrics.k8s.io/resource-metrics-path";
/// The first API server that takes all such streams as WebSocket connections. They end there: our kubelet only passes them on.
const TAKES_WEBSOCKETS: Version = Version { major: 1, minor: 31 };

/// The node of this name, as it is created.
pub(super) fn node(name: &str, state: &State, kubelet: Option<&Kubelet>) -> VirtualObject {
    VirtualObject::new(fields(name, state, kubelet).as_object().cloned().unwrap_or_default())
}

/// The node of this name as it mirrors the host's; none where the host has none that is selected.
pub(super) fn mirrored(name: &str, state: &State, kubelet: Option<&Kubelet>) -> Option<VirtualObject> {
    let host = state.host_nodes.nodes.get("", name)?;
    let facts = state.facts();
    let own = nodes::Kubelet {
        annotations: annotations(name, kubelet),
        addresses: addresses(name, kubelet),
        endpoints: kubelet.map_or_else(|| json!({}), endpoints),
        features: declared(facts.host_version, kubelet),
    };
    Some(nodes::mirrored(&facts.policy.nodes, &own, &state.host_nodes.requested_on(name), &host))
}

/// Removes the taints of our node, and lets pods be scheduled there; none when it is so. The spec of our nodes is ours: the
/// host's scheduler, which places the pods, does not know of it, so that a taint would have every pod evicted, and placed
/// there again.
pub(super) fn untaint(node: &VirtualObject) -> Option<Change> {
    let version = node.pointer("/metadata/resourceVersion");
    let spec = match node.pointer("/spec/unschedulable") {
        Some(_) => json!({"taints": [], "unschedulable": null}),
        None => json!({"taints": []}),
    };
    is_spoilt(node).then(|| Change::merge(json!({"metadata": {"resourceVersion": version}, "spec": spec})))
}

/// Whether somebody else than admission has tainted our node, or cordoned it.
pub(super) fn is_changed_by_others(node: &VirtualObject) -> bool {
    if node.label(MIRRORED_LABEL).is_some() {
        return patch::is_changed_by_others(node);
    }
    let taints = node.pointer("/spec/taints").and_then(Value::as_array).into_iter().flatten();
    let mut others = taints.filter(|taint| taint.get("key").and_then(Value::as_str) != Some(NOT_READY));
    is_spoilt(node) && (others.next().is_some() || node.pointer("/spec/unschedulable").is_some())
}

/// Publishes where the kubelet of our node is now; none when the node says so.
pub(super) fn republish(node: &VirtualObject, kubelet: Option<&Kubelet>) -> Option<Change> {
    let kubelet = kubelet.filter(|_| is_our_node(node))?;
    let (addresses, endpoints) = (addresses(node.name(), Some(kubelet)), endpoints(kubelet));
    let is_published = node.pointer("/status/addresses") == Some(&addresses)
        && node.pointer("/status/daemonEndpoints") == Some(&endpoints);
    let status = json!({"status": {"addresses": addresses, "daemonEndpoints": endpoints}});
    (!is_published).then(|| Change::merge_in("status", status))
}

/// Publishes the path of our node's metrics, or that there is none any more; none when the node says so.
pub(super) fn annotate(node: &VirtualObject, kubelet: Option<&Kubelet>) -> Option<Change> {
    let wanted = annotation(node.name(), kubelet);
    let is_published = node.annotation(METRICS_PATH) == wanted.as_deref() || !is_our_node(node);
    (!is_published).then(|| Change::merge(json!({"metadata": {"annotations": {METRICS_PATH: wanted}}})))
}

/// The path at which the kubelet of all nodes has the metrics of this one.
pub(crate) fn metrics_path(node: &str) -> String {
    format!("/nodes/{node}/metrics/resource")
}

fn annotation(node: &str, kubelet: Option<&Kubelet>) -> Option<String> {
    kubelet?.readers.map(|_| metrics_path(node))
}

fn annotations(name: &str, kubelet: Option<&Kubelet>) -> Fields {
    annotation(name, kubelet).map(|path| (METRICS_PATH.to_owned(), path.into())).into_iter().collect()
}

fn fields(name: &str, state: &State, kubelet: Option<&Kubelet>) -> Value {
    let version = state.facts().virtual_version;
    let now = state.ambient.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "this node is made up; see the host cluster",
               "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    // Large enough that nothing in the virtual cluster counts on it: the host decides what fits.
    let room = json!({"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "16Ti", "pods": "100000"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": annotations(name, kubelet), "labels": {
            FAKE_NODE_LABEL: "true", "kubernetes.io/hostname": labels::value(name), "kubernetes.io/os": "linux", "kubernetes.io/arch": arch(),
        }},
        "status": {
            "capacity": room, "allocatable": room,
            "declaredFeatures": declared(state.facts().host_version, kubelet),
            "addresses": addresses(name, kubelet), "daemonEndpoints": kubelet.map_or_else(|| json!({}), endpoints),
            "conditions": [
                condition("Ready", "True", "KubeletReady"),
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
            ],
            "nodeInfo": {
                "architecture": arch(), "bootID": "", "containerRuntimeVersion": "weft://", "kernelVersion": "", "kubeProxyVersion": "",
                "kubeletVersion": format!("v{}.{}.0", version.major, version.minor), "machineID": "",
                "operatingSystem": "linux", "osImage": "weft", "systemUUID": "",
            },
        },
    })
}

/// The API server takes the first type of `--kubelet-preferred-address-types` that a node has: by default Hostname, then
/// `InternalDNS`. So a node with a kubelet has no Hostname, which nobody could resolve. metrics-server takes the first
/// `InternalIP`; the one that is made up stays, as pods have it as `hostIP`.
fn addresses(name: &str, kubelet: Option<&Kubelet>) -> Value {
    let first = match kubelet {
        Some(kubelet) => json!({"type": "InternalDNS", "address": kubelet.address}),
        None => json!({"type": "Hostname", "address": name}),
    };
    let internal = |address: String| json!({"type": "InternalIP", "address": address});
    let readers = kubelet.and_then(|kubelet| kubelet.readers).map(|address| internal(address.to_string()));
    let made_up = internal(node_address(name).to_string());
    [first].into_iter().chain(readers).chain([made_up]).collect()
}

/// What the host carries out whatever its nodes are: the features of its kubelets are not known here. A server before
/// Kubernetes 1.36 has no such field, so nodes that lack it are not completed.
fn declared(host: Version, kubelet: Option<&Kubelet>) -> Value {
    let takes_websockets = kubelet.is_some() && host >= TAKES_WEBSOCKETS;
    takes_websockets.then_some(WEBSOCKETS).into_iter().collect()
}

fn endpoints(kubelet: &Kubelet) -> Value {
    json!({"kubeletEndpoint": {"Port": kubelet.port}})
}

/// The architecture's name as Kubernetes writes it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubelet() -> Kubelet {
        Kubelet { address: "localhost".to_owned(), readers: None, port: 10_250 }
    }

    fn labelled(status: &Value) -> VirtualObject {
        let metadata = json!({"name": "node-1", "labels": {FAKE_NODE_LABEL: "true"}});
        VirtualObject::from_json(json!({"metadata": metadata, "status": status})).unwrap()
    }

    #[test]
    fn a_node_names_its_kubelet_first_and_is_told_when_that_moves() {
        let addresses = addresses("node-1", Some(&kubelet()));
        assert_eq!(addresses[0], json!({"type": "InternalDNS", "address": "localhost"}));
        let node = labelled(&json!({"addresses": addresses, "daemonEndpoints": endpoints(&kubelet())}));
        assert_eq!(republish(&node, Some(&kubelet())), None);
        let moved = Kubelet { port: 20_250, ..kubelet() };
        let change = republish(&node, Some(&moved)).unwrap();
        assert_eq!(change.subresource, Some("status"));
        assert_eq!(change.body["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"], 20_250);
    }

    #[test]
    fn a_node_names_where_its_metrics_are_while_there_may_be_readers() {
        let readers = Kubelet { readers: Some([10, 1, 2, 3].into()), ..kubelet() };
        let internal = |kubelet: &Kubelet| {
            let addresses = addresses("node-1", Some(kubelet));
            let all = addresses.as_array().unwrap().clone();
            let internal = all.into_iter().filter(|address| address["type"] == "InternalIP");
            internal.map(|address| address["address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let made_up = node_address("node-1").to_string();
        assert_eq!(internal(&readers), ["10.1.2.3".to_owned(), made_up.clone()]);
        assert_eq!(internal(&kubelet()), [made_up]);
        let path = json!("/nodes/node-1/metrics/resource");
        let change = annotate(&labelled(&json!({})), Some(&readers)).unwrap();
        assert_eq!(change.body["metadata"]["annotations"][METRICS_PATH], path);
        let mut annotated = labelled(&json!({}));
        assert_eq!(annotate(&annotated, Some(&kubelet())), None);
        annotated.annotations_mut().insert(METRICS_PATH.to_owned(), path);
        assert_eq!(annotate(&annotated, Some(&readers)), None);
        let change = annotate(&annotated, None).unwrap();
        assert_eq!(
            change.body["metadata"]["annotations"][METRICS_PATH],
            Value::Null,
            "nobody may read any more"
        );
    }

    #[test]
    fn a_node_declares_websockets_where_a_kubelet_and_the_host_take_them() {
        let (new, old) = (Version { major: 1, minor: 36 }, Version { major: 1, minor: 30 });
        assert_eq!(declared(new, Some(&kubelet())), json!([WEBSOCKETS]));
        assert_eq!(declared(old, Some(&kubelet())), json!([]));
        assert_eq!(declared(new, None), json!([]));
    }

    #[test]
    fn without_a_kubelet_and_on_nodes_of_others_nothing_is_published() {
        assert_eq!(addresses("node-1", None)[0]["type"], "Hostname");
        assert_eq!(republish(&labelled(&json!({})), None), None);
        let theirs = VirtualObject::from_json(json!({"metadata": {"name": "theirs"}})).unwrap();
        assert_eq!(republish(&theirs, Some(&kubelet())), None);
    }
}
