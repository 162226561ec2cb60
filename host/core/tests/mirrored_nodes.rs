//! What the virtual cluster shows of a host node is what the file beside it says, and a patch brings any node of ours to it.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use weft_core::change::Change;
use weft_core::keys::{APPLIED, FAKE_NODE_LABEL};
use weft_core::nodes::patch::{NOT_READY, changes, is_changed_by_others};
use weft_core::nodes::requests::{self, Amounts};
use weft_core::nodes::{Kubelet, mirrored};
use weft_core::object::{HostObject, VirtualObject};
use weft_core::policy::nodes::NodePolicy;
use weft_core::policy::patterns::Patterns;

/// A node as a cloud's cluster has it.
const HOST: &str = include_str!("golden_nodes/cloud.host.yaml");
/// What the virtual cluster shows of it by default, where pods of others run on it.
const SHOWN: &str = include_str!("golden_nodes/cloud.virtual.yaml");

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("it is YAML")
}

fn host() -> HostObject {
    HostObject::from_json(yaml(HOST)).expect("a node")
}

fn kubelet() -> Kubelet {
    Kubelet {
        annotations: [("metrics.k8s.io/resource-metrics-path".to_owned(), json!("/nodes/a/metrics"))]
            .into_iter()
            .collect(),
        addresses: json!([{"type": "InternalDNS", "address": "localhost"}]),
        endpoints: json!({"kubeletEndpoint": {"Port": 10250}}),
        features: json!(["ExtendWebSocketsToKubelet"]),
    }
}

/// What two pods of others request.
fn others() -> Amounts {
    let of = |memory: &str| {
        let requests = json!({"cpu": "250m", "memory": memory, "nvidia.com/gpu": "3"});
        let containers = json!([{"resources": {"requests": requests}}]);
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": containers}});
        requests::of(&HostObject::from_json(pod).expect("a pod"))
    };
    let mut sum = of("1Gi");
    requests::add(&mut sum, &of("512Mi"));
    sum
}

fn shown(policy: &NodePolicy) -> VirtualObject {
    mirrored(policy, &kubelet(), &others(), &host())
}

/// What a server makes of `node` with these patches (RFC 7386).
fn patched(node: &VirtualObject, changes: &[Change]) -> VirtualObject {
    fn merge(target: &mut Value, patch: &Value) {
        let Some(fields) = patch.as_object() else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (name, value) in fields {
            if value.is_null() {
                target.as_object_mut().expect("an object").remove(name);
            } else {
                merge(&mut target[name], value);
            }
        }
    }
    let mut json = node.clone().into_json();
    for change in changes {
        merge(&mut json, &change.body);
    }
    VirtualObject::from_json(json).expect("an object")
}

#[test]
fn a_node_shows_what_its_file_says_and_nothing_else() {
    let made = shown(&NodePolicy::default()).into_json();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden_nodes/cloud.virtual.yaml");
        let text = serde_saphyr::to_string(&made).expect("JSON is YAML");
        std::fs::write(path, text).expect("the file is writable");
        return;
    }
    assert_eq!(
        yaml(SHOWN),
        made,
        "UPDATE_GOLDEN=1 cargo test -p weft-core --test mirrored_nodes, and read the diff"
    );
}

#[test]
fn what_others_are_said_to_have_leaves_the_rest_and_never_less_than_nothing() {
    let node = shown(&NodePolicy::default());
    let left = |name: &str| node.text(&format!("/status/allocatable/{name}")).unwrap_or_default().to_owned();
    assert_eq!([left("cpu"), left("memory"), left("pods")], ["3420m", "13824Mi", "108"]);
    assert_eq!(left("nvidia.com~1gpu"), "0", "others have more than there is");
    assert_eq!(left("ephemeral-storage"), "95491281146", "nobody requests it");
    let alone = mirrored(&NodePolicy::default(), &kubelet(), &Amounts::new(), &host());
    assert_eq!(alone.pointer("/status/allocatable"), host().pointer("/status/allocatable"));
}

#[test]
fn the_operator_chooses_what_else_is_shown() {
    let policy = NodePolicy {
        labels: Patterns::any(),
        annotations: Patterns::parse(["example.com/*"]).expect("usable"),
        taints: false,
        images: true,
    };
    let node = shown(&policy);
    assert_eq!(node.label("eks.amazonaws.com/nodegroup"), Some("customers"));
    assert_eq!(node.label(FAKE_NODE_LABEL), None, "the host may be a virtual cluster itself");
    assert_eq!(node.annotation("example.com/rack"), Some("7"));
    assert_eq!(node.pointer("/spec"), Some(&json!({"taints": []})));
    assert_eq!(node.pointer("/status/images"), host().pointer("/status/images"));
}

#[test]
fn any_node_of_ours_is_brought_to_what_it_has_to_show_in_one_step() {
    let wanted = shown(&NodePolicy::default());
    let mut edited = wanted.clone().into_json();
    edited["spec"] = json!({"taints": [{"key": "mine", "effect": "NoExecute"}]});
    edited["metadata"]["labels"]["kubernetes.io/os"] = json!("plan9");
    edited["status"]["allocatable"]["example.com/made-up"] = json!("4");
    edited["status"]["conditions"] = json!([]);
    let fake = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": wanted.name(), "labels": {FAKE_NODE_LABEL: "true"}},
        "spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"}]},
        "status": {"capacity": {"cpu": "1000"}, "declaredFeatures": ["ExtendWebSocketsToKubelet"]},
    });
    for node in [edited, fake] {
        let node = VirtualObject::from_json(node).expect("a node");
        let changes = changes(&node, &wanted);
        let after = patched(&node, &changes);
        assert_eq!(self::changes(&after, &wanted), [], "{after:?}");
        for pointer in [
            "/metadata/labels",
            "/metadata/annotations",
            "/spec",
            "/status/allocatable",
            "/status/conditions",
        ] {
            assert_eq!(after.pointer(pointer), wanted.pointer(pointer), "{pointer}");
        }
    }
    assert_eq!(changes(&wanted, &wanted), []);
}

#[test]
fn what_the_tenant_adds_to_a_node_stays_and_what_the_host_removes_goes() {
    let before = shown(&NodePolicy { labels: Patterns::any(), ..NodePolicy::default() });
    let mut node = before.into_json();
    node["metadata"]["labels"]["tenant"] = json!("mine");
    node["metadata"]["annotations"]["tenant"] = json!("mine");
    let own = json!({"type": "KernelDeadlock", "status": "False"});
    node["status"]["conditions"].as_array_mut().expect("a list").push(own.clone());
    let node = VirtualObject::from_json(node).expect("a node");
    let after = patched(&node, &changes(&node, &shown(&NodePolicy::default())));
    assert_eq!((after.label("tenant"), after.annotation("tenant")), (Some("mine"), Some("mine")));
    assert_eq!(after.label("eks.amazonaws.com/nodegroup"), None, "it is shown no longer");
    let conditions = after.pointer("/status/conditions").and_then(Value::as_array).expect("a list");
    assert!(conditions.contains(&own), "{conditions:?}");
}

#[test]
fn a_taint_of_the_tenants_is_known_from_one_that_the_host_had_until_now() {
    let node = shown(&NodePolicy::default());
    let with = |edit: fn(&mut Value)| {
        let mut node = node.clone().into_json();
        edit(&mut node);
        is_changed_by_others(&VirtualObject::from_json(node).expect("a node"))
    };
    assert!(!with(|_| {}));
    assert!(!with(|node| node["spec"]["taints"][0]["timeAdded"] = json!("2026-01-01T00:00:00Z")));
    assert!(with(|node| node["spec"]["unschedulable"] = json!(null)), "`kubectl uncordon`");
    assert!(with(|node| node["spec"]["taints"][0] = json!({"key": "mine", "effect": "NoSchedule"})));
    let new = |node: &mut Value| {
        node["spec"]["taints"][0] = json!({"key": NOT_READY, "effect": "NoSchedule"});
    };
    assert!(!with(new), "admission puts it on every new node");
    assert!(!with(|node| {
        node["metadata"]["annotations"].as_object_mut().expect("a map").remove(APPLIED);
        node["spec"] = json!({});
    }));
}
