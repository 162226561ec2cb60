//! Pods: defaults, what may change about them, binding, status, and how they end.

use anyhow::Result;
use serde_json::{Value, json};

use super::case::{Step, delete, get, json_patch, merge, post, same, strategic};

/// A pod that no scheduler of a real server cares for.
fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({
        "schedulerName": "nobody", "automountServiceAccountToken": false,
        "containers": [{"name": "main", "image": "nginx:1"}],
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// On a node that no kubelet of a real server serves.
fn bind(name: &str, uid: &str) -> Step {
    let metadata = json!({"name": name, "uid": uid});
    let target = json!({"apiVersion": "v1", "kind": "Node", "name": "model-no-such-node"});
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target});
    post(&format!("pods/{name}/binding"), binding)
}

#[test]
fn a_pod_gets_its_defaults() -> Result<()> {
    same(&[
        post("pods", pod("a", json!({}))),
        post("pods", pod("b", json!({"schedulingGates": [{"name": "weft.test/gate"}]}))),
        get("pods/b"),
    ])
}

#[test]
fn a_pod_has_a_class_of_quality() -> Result<()> {
    let with = |resources: Value| json!({"containers": [{"name": "main", "image": "nginx", "resources": resources}]});
    same(&[
        post("pods", pod("a", with(json!({"requests": {"cpu": "1"}})))).sees(CLASS),
        post("pods", pod("b", with(json!({"limits": {"cpu": "1", "memory": "1Gi"}})))).sees(CLASS),
        post("pods", pod("c", json!({}))).sees(CLASS),
    ])
}

#[test]
fn a_pod_needs_containers_and_an_account() -> Result<()> {
    same(&[
        post("pods", pod("a", json!({"containers": []}))),
        post("pods", pod("a", json!({"containers": [{"name": "main"}]}))),
        post("pods", pod("a", json!({"serviceAccountName": "no-such"}))),
        get("pods/a"),
    ])
}

#[test]
fn little_of_a_pod_may_change() -> Result<()> {
    same(&[
        post("pods", pod("a", json!({}))),
        merge("pods/a", json!({"spec": {"nodeSelector": {"x": "y"}}})),
        merge("pods/a", json!({"spec": {"hostNetwork": true}})),
        merge("pods/a", json!({"spec": {"restartPolicy": "Never"}})),
        strategic("pods/a", json!({"spec": {"containers": [{"name": "main", "command": ["x"]}]}})),
        strategic("pods/a", json!({"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}})),
        merge("pods/a", json!({"spec": {"activeDeadlineSeconds": 60}})).sees(&["/spec/activeDeadlineSeconds", "/metadata/generation"]),
        merge("pods/a", json!({"metadata": {"labels": {"x": "y"}}})).sees(&["/metadata/labels", "/metadata/generation"]),
        merge("pods/a", json!({"spec": {"tolerations": []}})),
        json_patch(
            "pods/a",
            json!([{"op": "add", "path": "/spec/tolerations/-", "value": {"key": "x", "operator": "Exists"}}]),
        )
        .sees(&["/spec/tolerations"]),
    ])
}

#[test]
fn a_gate_is_taken_away() -> Result<()> {
    let gates = json!([{"name": "weft.test/one"}, {"name": "weft.test/two"}]);
    same(&[
        post("pods", pod("a", json!({"schedulingGates": gates}))).sees(&["/spec/schedulingGates"]),
        bind("a", "{{0/metadata/uid}}"),
        strategic(
            "pods/a",
            json!({"spec": {"schedulingGates": [{"name": "weft.test/one", "$patch": "delete"}]}}),
        )
        .sees(&["/spec/schedulingGates", "/metadata/generation"]),
        strategic("pods/a", json!({"spec": {"schedulingGates": [{"name": "weft.test/three"}]}})),
        merge("pods/a", json!({"spec": {"schedulingGates": null}}))
            .sees(&["/spec/schedulingGates", "/metadata/generation"]),
    ])
}

#[test]
fn a_pod_is_bound_once() -> Result<()> {
    same(&[
        post("pods", pod("a", json!({}))).sees(&["/spec/nodeName"]),
        bind("a", "another"),
        bind("none", "another"),
        bind("a", "{{0/metadata/uid}}"),
        get("pods/a").sees(&["/spec/nodeName", "/status", "/metadata/generation"]),
        bind("a", "{{0/metadata/uid}}"),
    ])
}

#[test]
fn the_status_of_a_pod_is_written_apart() -> Result<()> {
    let ready = json!({"type": "Ready", "status": "True"});
    same(&[
        post("pods", pod("a", json!({}))).sees(&["/status"]),
        merge("pods/a", json!({"status": {"phase": "Running"}})).sees(STATUS),
        strategic("pods/a/status", json!({"status": {"phase": "Running", "conditions": [ready]}}))
            .sees(STATUS),
        strategic("pods/a/status", json!({"status": {"conditions": [{"type": "Gate", "status": "True"}]}}))
            .sees(STATUS),
        strategic(
            "pods/a/status",
            json!({"status": {"conditions": [{"type": "Ready", "$patch": "delete"}]}}),
        )
        .sees(STATUS),
        strategic("pods/a/status", json!({"status": {"conditions": [{"$patch": "replace"}, ready]}}))
            .sees(STATUS),
        merge("pods/a/status", json!({"spec": {"nodeName": "x"}})).sees(STATUS),
        strategic("pods/a/status", json!({"metadata": {"uid": "another"}, "status": {"phase": "Failed"}})),
        merge("pods/a/status", json!({"metadata": {"resourceVersion": "1"}, "status": {"phase": "Failed"}})),
        strategic("pods/a/status", json!({"status": {"phase": "Running"}})).sees(&["/metadata/name"]),
    ])
}

#[test]
fn a_pod_that_runs_nowhere_ends_at_once() -> Result<()> {
    same(&[
        post("pods", pod("a", json!({}))).sees(&["/metadata/name"]),
        delete("pods/a", Value::Null).sees(ENDING),
        get("pods/a"),
    ])
}

#[test]
fn a_pod_on_a_node_has_time_to_end() -> Result<()> {
    same(&[
        post("pods", pod("a", json!({"terminationGracePeriodSeconds": 600}))).sees(&["/metadata/name"]),
        bind("a", "{{0/metadata/uid}}"),
        delete("pods/a", json!({"preconditions": {"uid": "another"}})),
        delete("pods/a", json!({"preconditions": {"uid": "{{0/metadata/uid}}"}})).sees(ENDING),
        delete("pods/a", json!({"gracePeriodSeconds": 700})).sees(ENDING),
        delete("pods/a", json!({"gracePeriodSeconds": 300})).sees(ENDING),
        delete("pods/a", Value::Null).sees(ENDING),
        bind("a", "{{0/metadata/uid}}"),
        delete("pods/a", json!({"gracePeriodSeconds": 0})).sees(ENDING),
        get("pods/a"),
    ])
}

#[test]
fn a_pod_with_a_finalizer_stays_after_its_time() -> Result<()> {
    same(&[
        post("pods", pod("a", json!({}))).sees(&["/metadata/name"]),
        merge("pods/a", json!({"metadata": {"finalizers": ["weft.test/held"]}}))
            .sees(&["/metadata/finalizers"]),
        delete("pods/a", json!({"gracePeriodSeconds": 0})).sees(ENDING),
        get("pods/a").sees(ENDING),
        merge("pods/a", json!({"metadata": {"finalizers": null}})).sees(ENDING),
        get("pods/a"),
    ])
}

#[test]
fn a_container_for_debugging_is_added() -> Result<()> {
    let debug = json!({"name": "debug", "image": "busybox"});
    same(&[
        post("pods", pod("a", json!({}))).sees(&["/metadata/name"]),
        strategic("pods/a/ephemeralcontainers", json!({"spec": {"ephemeralContainers": [debug]}}))
            .sees(&["/spec/ephemeralContainers/0/name", "/metadata/generation"]),
        strategic("pods/a", json!({"spec": {"ephemeralContainers": [{"name": "more", "image": "busybox"}]}})),
    ])
}

const STATUS: &[&str] = &["/status", "/spec/nodeName", "/metadata/generation"];
const CLASS: &[&str] = &["/status/qosClass", "/spec/containers/0/imagePullPolicy"];

/// What shows how a pod ends.
const ENDING: &[&str] = &[
    "/kind",
    "/metadata/name",
    "/metadata/generation",
    "/metadata/deletionTimestamp",
    "/metadata/deletionGracePeriodSeconds",
    "/metadata/finalizers",
];
