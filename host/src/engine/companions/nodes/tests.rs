//! Nodes of ours are created, completed, brought back and deleted, and those of others are left alone.

use super::*;

use http::Method;
use serde_json::{Value, json};

use weft_core::nodes::patch::NOT_READY;
use weft_core::object::HostObject;

use crate::api::scripted::{Answer, Asked};
use crate::engine::cache::changed::Changed;
use crate::engine::cache::store::Absence;
use crate::engine::cache::version::ResourceVersion;
use crate::engine::testing::{Bench, echo};

const NEW: [&str; 2] = ["POST /api/v1/nodes", "PATCH /api/v1/nodes/node-1"];

fn taints(of: &[&str]) -> Value {
    of.iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect()
}

/// Puts the taint on new nodes, as admission does.
fn tainting(asked: &Asked) -> Answer {
    let Answer::Reply(status, mut node) = echo(asked) else { panic!("echo replies") };
    if asked.method == Method::POST {
        node["spec"] = json!({"taints": taints(&[NOT_READY])});
    } else {
        node["metadata"]["resourceVersion"] = "101".into();
    }
    Answer::Reply(status, node)
}

fn new(bench: &Bench, kubelet: Option<Kubelet>) -> Nodes {
    Nodes::new(bench.state.clone(), bench.writer.clone(), kubelet, false, bench.recorder())
}

/// Puts a node into the cache.
fn seen(bench: &Bench, name: &str, labels: &Value, of: &[&str]) {
    let metadata = json!({"name": name, "uid": name, "resourceVersion": "1", "labels": labels});
    let node = json!({"metadata": metadata, "spec": {"taints": taints(of)}});
    bench.state.nodes.put(Arc::new(VirtualObject::from_json(node).unwrap()));
}

fn ours() -> Value {
    json!({FAKE_NODE_LABEL: "true"})
}

#[tokio::test(start_paused = true)]
async fn a_node_is_created_once_and_loses_its_taint() {
    let bench = Bench::new(echo, tainting);
    let nodes = new(&bench, None);
    let (one, other) = tokio::join!(nodes.before_bind("node-1"), nodes.before_bind("node-1"));
    one.and(other).unwrap();
    nodes.before_bind("node-1").await.unwrap();
    assert_eq!(bench.virtual_requests.lines(), NEW);
    assert_eq!(bench.virtual_requests.bodies(&Method::PATCH)[0]["spec"], json!({"taints": []}));
    assert!(bench.state.nodes.contains("", "node-1"));
    assert!(bench.host_requests.all().is_empty(), "the host is never asked about nodes");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_created_and_never_completed_is_completed() {
    let bench = Bench::echoing();
    seen(&bench, "node-1", &ours(), &[NOT_READY, "maintenance"]);
    seen(&bench, "theirs", &json!({}), &[NOT_READY]);
    let nodes = new(&bench, None);
    nodes.before_bind("node-1").await.unwrap();
    nodes.before_bind("theirs").await.unwrap();
    let patches = bench.virtual_requests.bodies(&Method::PATCH);
    assert_eq!(patches.len(), 1, "theirs is left alone: {patches:?}");
    let patch = &patches[0];
    assert_eq!(patch["spec"], json!({"taints": []}), "the spec is ours");
    assert_eq!(patch["metadata"], json!({"uid": "node-1", "resourceVersion": "1"}));
}

#[tokio::test(start_paused = true)]
async fn a_node_of_an_earlier_version_gets_the_kubelets_address() {
    let bench = Bench::echoing();
    seen(&bench, "node-1", &ours(), &[]);
    let kubelet = Some(Kubelet { address: "localhost".to_owned(), readers: None, port: 10_250 });
    let nodes = new(&bench, kubelet);
    nodes.before_bind("node-1").await.unwrap();
    assert_eq!(bench.virtual_requests.lines(), ["PATCH /api/v1/nodes/node-1/status"]);
    let patch = &bench.virtual_requests.bodies(&Method::PATCH)[0];
    assert_eq!(patch["status"]["addresses"][0]["address"], "localhost");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_creation_got_no_reply_is_completed_by_the_sweep() {
    let bench = Bench::echoing();
    let nodes = Arc::new(new(&bench, None));
    let mut pod = crate::engine::testing::pod();
    pod["spec"]["nodeName"] = "node-1".into();
    bench.watch_virtual("v1/Pod", pod);
    let sweeping = tokio::spawn(nodes.sweep_forever());
    seen(&bench, "node-1", &ours(), &[NOT_READY]);
    tokio::time::sleep(SWEEP * 2).await;
    assert_eq!(bench.virtual_requests.lines(), ["PATCH /api/v1/nodes/node-1"]);
    sweeping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_is_not_answered_holds_up_no_other_node_and_is_tried_again() {
    let silent = |asked: &Asked| match asked.body.pointer("/metadata/name").and_then(Value::as_str) {
        Some("node-1") => Answer::Silence,
        _ => echo(asked),
    };
    let bench = Bench::new(echo, silent);
    let nodes = new(&bench, None);
    let begun = tokio::time::Instant::now();
    for _ in 0..24 {
        let error = nodes.before_bind("node-1").await.unwrap_err();
        assert_eq!(error.source.retry_after(), Some(Duration::from_secs(1)), "{error}");
    }
    nodes.before_bind("node-2").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "on the paused clock: {:?}", begun.elapsed());
    assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes"; 2]);
    tokio::time::sleep(Duration::from_mins(1)).await;
    nodes.before_bind("node-1").await.unwrap_err();
    assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes"; 3], "the first has timed out");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_tainted_or_cordoned_is_brought_back_at_once_with_an_event() {
    let bench = Bench::echoing();
    let restoring = tokio::spawn(Arc::new(new(&bench, None)).follow_forever());
    let node = |name: &str, labels: &Value, spec: &Value| {
        let metadata = json!({"name": name, "uid": name, "resourceVersion": "1", "labels": labels});
        Arc::new(VirtualObject::from_json(json!({"metadata": metadata, "spec": spec})).unwrap())
    };
    let cordoned = json!({"unschedulable": true, "taints": taints(&["node.kubernetes.io/unschedulable"])});
    let evicting = json!({"taints": [{"key": "mine", "effect": "NoExecute"}]});
    for (name, labels, spec, expected) in [
        ("tainted", ours(), &evicting, vec![json!({"taints": []})]),
        ("cordoned", ours(), &cordoned, vec![json!({"taints": [], "unschedulable": null})]),
        ("clean", ours(), &json!({}), vec![]),
        ("theirs", json!({}), &evicting, vec![]),
    ] {
        let node = node(name, &labels, spec);
        bench.state.nodes.put(node.clone());
        bench.state.node_changed(&Changed::new(node));
        tokio::time::sleep(RESTORED * 2).await;
        let patches = bench.virtual_requests.bodies(&Method::PATCH);
        let of_node = patches.iter().filter(|patch| patch["metadata"]["uid"] == name);
        assert_eq!(of_node.map(|patch| patch["spec"].clone()).collect::<Vec<_>>(), expected, "{name}");
    }
    let events = bench.virtual_requests.bodies(&Method::POST);
    assert!(events.iter().any(|event| event["reason"] == "NodeSpecRestored"), "{events:?}");
    restoring.abort();
}

#[tokio::test]
async fn a_node_that_a_tenant_writes_into_a_pod_is_not_created() {
    let bench = Bench::echoing();
    let mut source = crate::engine::testing::pod();
    source["spec"]["nodeName"] = "made-up".into();
    bench.watch_virtual("v1/Pod", source.clone());
    assert!(bench.state.used_nodes().is_empty());
    let mut host = crate::engine::testing::host_object("v1/Pod", "shop", "web", "uid-1");
    host["spec"] = json!({"nodeName": "made-up"});
    bench.put_host("v1/Pod", host);
    assert_eq!(bench.state.used_nodes(), ["made-up".to_owned()].into(), "the host runs it there");
}

#[tokio::test]
async fn a_node_that_somebody_else_has_created_is_taken_as_it_is() {
    let bench = Bench::new(echo, |_| Answer::failure(409, "AlreadyExists"));
    let nodes = new(&bench, None);
    nodes.before_bind("node-1").await.unwrap();
    assert_eq!(bench.virtual_requests.lines(), ["POST /api/v1/nodes"]);
}

#[tokio::test]
async fn only_an_unused_node_of_ours_is_deleted() {
    let bench = Bench::echoing();
    let nodes = new(&bench, None);
    seen(&bench, "ours", &ours(), &[]);
    seen(&bench, "theirs", &json!({}), &[]);
    nodes.remove_unused("ours").await.unwrap();
    nodes.remove_unused("theirs").await.unwrap();
    assert_eq!(bench.virtual_requests.lines(), ["DELETE /api/v1/nodes/ours"]);
    assert_eq!(bench.virtual_requests.all()[0].body["preconditions"]["uid"], "ours");
}

/// A node of the host with so many cores, as the watch shows it.
fn host_node(bench: &Bench, version: &str, cpu: &str) {
    let metadata = json!({"name": "node-1", "uid": "h", "resourceVersion": version});
    let status = json!({"capacity": {"cpu": cpu}, "allocatable": {"cpu": cpu}});
    let node = HostObject::from_json(json!({"metadata": metadata, "status": status})).unwrap();
    bench.state.host_nodes.nodes.put(Arc::new(node));
    bench.state.host_nodes.compare("node-1");
}

/// The host has the node no longer.
fn host_node_gone(bench: &Bench) {
    let (nodes, version) = (&bench.state.host_nodes.nodes, ResourceVersion::new("9"));
    nodes.remove("", "node-1", version, Absence::Deleted);
    bench.state.host_nodes.compare("node-1");
}

/// Follows the nodes of the host.
fn mirroring(bench: &Bench) -> tokio::task::JoinHandle<()> {
    bench.state.host_nodes.nodes.set_synced();
    let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None, true, bench.recorder());
    tokio::spawn(Arc::new(nodes).follow_forever())
}

async fn followed() {
    tokio::time::sleep(RESTORED * 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_mirrored_node_comes_changes_and_goes_with_its_host_node() {
    let bench = Bench::echoing();
    let following = mirroring(&bench);
    host_node(&bench, "1", "4");
    followed().await;
    let created = bench.virtual_requests.bodies(&Method::POST);
    assert_eq!(created[0]["metadata"]["labels"][MIRRORED_LABEL], "true");
    assert_eq!(created[0]["status"]["allocatable"]["cpu"], "4");
    host_node(&bench, "2", "8");
    followed().await;
    let patches = bench.virtual_requests.bodies(&Method::PATCH);
    assert_eq!(patches[0]["status"]["allocatable"], json!({"cpu": "8"}), "{patches:?}");
    // An echo has of a patched node only what was patched.
    seen(&bench, "node-1", &json!({MIRRORED_LABEL: "true"}), &[]);
    host_node_gone(&bench);
    followed().await;
    assert_eq!(bench.virtual_requests.lines().last().unwrap(), "DELETE /api/v1/nodes/node-1");
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_node_of_the_tenants_own_is_left_alone_whatever_the_host_has() {
    let bench = Bench::echoing();
    let following = mirroring(&bench);
    seen(&bench, "node-1", &json!({}), &["mine"]);
    host_node(&bench, "1", "4");
    followed().await;
    host_node_gone(&bench);
    followed().await;
    assert_eq!(bench.virtual_requests.lines(), Vec::<String>::new());
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_mirrored_node_stays_while_a_pod_is_on_it_or_the_hosts_nodes_are_not_known() {
    let bench = Bench::echoing();
    seen(&bench, "node-1", &json!({MIRRORED_LABEL: "true"}), &[]);
    let nodes = Nodes::new(bench.state.clone(), bench.writer.clone(), None, true, bench.recorder());
    nodes.remove_unused("node-1").await.unwrap();
    assert_eq!(bench.virtual_requests.lines(), Vec::<String>::new(), "the list is not complete");
    bench.state.host_nodes.nodes.set_synced();
    let mut pod = crate::engine::testing::pod();
    pod["spec"]["nodeName"] = "node-1".into();
    bench.watch_virtual("v1/Pod", pod);
    nodes.remove_unused("node-1").await.unwrap();
    assert_eq!(bench.virtual_requests.lines(), Vec::<String>::new(), "its pods are the host's to judge");
}

#[tokio::test(start_paused = true)]
async fn a_made_up_node_becomes_the_mirrored_one_once_the_host_shows_it() {
    let bench = Bench::echoing();
    let following = mirroring(&bench);
    seen(&bench, "node-1", &ours(), &[NOT_READY]);
    host_node(&bench, "1", "4");
    followed().await;
    let patch = &bench.virtual_requests.bodies(&Method::PATCH)[0];
    let labels = json!({FAKE_NODE_LABEL: null, MIRRORED_LABEL: "true"});
    assert_eq!(patch["metadata"]["labels"], labels);
    assert_eq!(patch["spec"]["taints"], json!([]));
    assert_eq!(bench.reasons().await, Vec::<String>::new());
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_mirrored_node_that_the_tenant_taints_is_brought_back_with_an_event_and_one_that_the_host_taints_is_not()
 {
    let bench = Bench::echoing();
    let following = mirroring(&bench);
    host_node(&bench, "1", "4");
    followed().await;
    let created = bench.virtual_requests.bodies(&Method::POST).remove(0);
    let show = |version: &str, spec: &Value| {
        let mut node = created.clone();
        node["metadata"]["uid"] = "v".into();
        node["metadata"]["resourceVersion"] = version.into();
        node["spec"] = spec.clone();
        let node = Arc::new(VirtualObject::from_json(node).unwrap());
        bench.state.nodes.put(node.clone());
        bench.state.node_changed(&Changed::new(node));
    };
    show("900", &json!({"taints": taints(&[NOT_READY])}));
    followed().await;
    assert_eq!(bench.reasons().await, Vec::<String>::new(), "admission put it there");
    show("901", &json!({"unschedulable": true, "taints": taints(&["mine"])}));
    followed().await;
    let patches = bench.virtual_requests.bodies(&Method::PATCH);
    let spec = json!({"taints": [], "unschedulable": null});
    assert!(patches.len() >= 2 && patches.iter().all(|patch| patch["spec"] == spec), "{patches:?}");
    let events = bench.events().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0]["message"].as_str().unwrap().contains("host's node again"), "{events:?}");
    following.abort();
}
