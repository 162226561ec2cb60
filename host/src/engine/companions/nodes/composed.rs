//! What a fake node says of itself, and what one of ours has to be made to say.

use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::context::Version;
use weft_core::keys::FAKE_NODE_LABEL;
use weft_core::kinds::pod::status::node_address;
use weft_core::labels;
use weft_core::object::VirtualObject;

use crate::engine::cache::state::State;
use crate::engine::companions::nodes::Kubelet;

/// The taint that admission puts on every new node until a node controller has initialised it; none initialises ours.
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// What a node declares whose kubelet takes WebSocket connections (KEP-4006): the virtual API server passes them on as they
/// are, and translates them to SPDY for any other.
const WEBSOCKETS: &str = "ExtendWebSocketsToKubelet";
/// The first API server that takes all such streams as WebSocket connections. They end there: our kubelet only passes them on.
const TAKES_WEBSOCKETS: Version = Version { major: 1, minor: 31 };

/// The node of this name, as it is created.
pub(super) fn node(name: &str, state: &State, kubelet: Option<&Kubelet>) -> VirtualObject {
    VirtualObject::new(fields(name, state, kubelet).as_object().cloned().unwrap_or_default())
}

/// Removes our node's taint, and none that somebody else has added; none when it is gone.
pub(super) fn untaint(node: &VirtualObject) -> Option<Change> {
    node.label(FAKE_NODE_LABEL)?;
    let taints = node.pointer("/spec/taints")?.as_array()?;
    let is_kept = |taint: &&Value| taint.get("key").and_then(Value::as_str) != Some(NOT_READY);
    let kept: Vec<&Value> = taints.iter().filter(is_kept).collect();
    let version = node.pointer("/metadata/resourceVersion");
    (kept.len() < taints.len())
        .then(|| Change::merge(json!({"metadata": {"resourceVersion": version}, "spec": {"taints": kept}})))
}

/// Publishes where the kubelet of our node is now; none when the node says so.
pub(super) fn republish(node: &VirtualObject, kubelet: Option<&Kubelet>) -> Option<Change> {
    let (_, kubelet) = (node.label(FAKE_NODE_LABEL)?, kubelet?);
    let (addresses, endpoints) = (addresses(node.name(), Some(kubelet)), endpoints(kubelet));
    let is_published = node.pointer("/status/addresses") == Some(&addresses)
        && node.pointer("/status/daemonEndpoints") == Some(&endpoints);
    let status = json!({"status": {"addresses": addresses, "daemonEndpoints": endpoints}});
    (!is_published).then(|| Change::merge_in("status", status))
}

fn fields(name: &str, state: &State, kubelet: Option<&Kubelet>) -> Value {
    let version = state.facts().virtual_version;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "this node is made up; see the host cluster",
               "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    // Large enough that nothing in the virtual cluster counts on it: the host decides what fits.
    let room = json!({"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "16Ti", "pods": "100000"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
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
/// `InternalDNS`. So a node with a kubelet has no Hostname, which nobody could resolve; an `InternalIP` stays, for people.
fn addresses(name: &str, kubelet: Option<&Kubelet>) -> Value {
    let first = match kubelet {
        Some(kubelet) => json!({"type": "InternalDNS", "address": kubelet.address}),
        None => json!({"type": "Hostname", "address": name}),
    };
    json!([first, {"type": "InternalIP", "address": node_address(name).to_string()}])
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
        Kubelet { address: "localhost".to_owned(), port: 10_250 }
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
