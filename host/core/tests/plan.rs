//! What is decided at each stage of a pod's life, step by step.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;

use serde_json::{Value, json};
use weft_core::context::{Ctx, Facts};
use weft_core::object::{HostObject, VirtualObject};
use weft_core::plan::{Plan, Seen, Step, plan};
use weft_core::policy::Policy;

use cases::{Case, World};

fn pod() -> &'static Case {
    cases::all().iter().find(|case| case.title == "pod/plain").expect("there is a golden case pod/plain")
}

/// The virtual pod with a change.
fn source(changes: &[(&str, Value)]) -> VirtualObject {
    let mut source = pod().source.clone().into_json();
    apply(&mut source, changes);
    VirtualObject::from_json(source).expect("it is an object")
}

/// The host pod as it was created, with a change.
fn host(changes: &[(&str, Value)]) -> HostObject {
    let created = match decide(Some(&source(&[])), None).steps.into_iter().next() {
        Some(Step::CreateHost(object)) => object,
        other => panic!("expected a creation, got {other:?}"),
    };
    let mut host = created.into_json();
    set(&mut host, "/metadata/uid", json!("host-uid"));
    set(&mut host, "/metadata/generation", json!(1));
    apply(&mut host, changes);
    HostObject::from_json(host).expect("it is an object")
}

fn decide(source: Option<&VirtualObject>, host: Option<&HostObject>) -> Plan {
    decide_about(Seen { virtual_object: source, host_object: host, ..Seen::default() })
}

fn decide_about(seen: Seen<'_>) -> Plan {
    let world = World::new(Vec::new());
    plan(&world.ctx(), &*pod().mapper, seen)
}

fn names(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(Step::name).collect()
}

fn apply(json: &mut Value, changes: &[(&str, Value)]) {
    for (pointer, value) in changes {
        set(json, pointer, value.clone());
    }
}

fn set(json: &mut Value, pointer: &str, value: Value) {
    let mut slot = json;
    for segment in pointer.split('/').skip(1) {
        slot = &mut slot[segment.replace("~1", "/")];
    }
    *slot = value;
}

const SCHEDULED: &[(&str, &str)] = &[("type", "PodScheduled"), ("status", "True")];

fn scheduled() -> Value {
    json!([SCHEDULED.iter().copied().collect::<std::collections::BTreeMap<_, _>>()])
}

#[test]
fn a_scheduled_pod_is_bound_and_its_status_waits_for_the_kubelet() {
    let host = host(&[("/spec/nodeName", json!("node-1")), ("/status", json!({"conditions": scheduled()}))]);
    assert_eq!(names(&decide(Some(&source(&[])), Some(&host))), ["bind virtual"]);
}

#[test]
fn a_pod_that_runs_already_is_bound_and_told_about_at_once() {
    let status = json!({"phase": "Running", "startTime": "2026-11-20T00:00:00Z"});
    let host = host(&[("/spec/nodeName", json!("node-1")), ("/status", status)]);
    assert_eq!(names(&decide(Some(&source(&[])), Some(&host))), ["bind virtual", "patch virtual"]);
}

#[test]
fn a_deletion_goes_to_the_host_with_its_grace_and_nothing_else_is_written() {
    let status = json!({
        "phase": "Running", "startTime": "2026-11-20T00:00:00Z", "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}],
    });
    let host = host(&[("/spec/nodeName", json!("node-1")), ("/status", status.clone())]);
    let source = source(&[
        ("/spec/nodeName", json!("node-1")),
        ("/status", status),
        // A deletion counts as a change.
        ("/metadata/generation", json!(2)),
        ("/metadata/deletionTimestamp", json!("2026-11-20T00:01:00Z")),
        ("/metadata/deletionGracePeriodSeconds", json!(7)),
    ]);
    let steps = decide(Some(&source), Some(&host)).steps;
    assert!(matches!(steps.as_slice(), [Step::DeleteHost { grace: Some(7), .. }]), "{steps:?}");
}

#[test]
fn a_deletion_gives_a_pod_no_longer_than_the_operator_does() {
    let deleted = |seconds: i64| {
        source(&[
            ("/metadata/deletionTimestamp", json!("2026-11-20T00:01:00Z")),
            ("/metadata/deletionGracePeriodSeconds", json!(seconds)),
        ])
    };
    let world = World::new(Vec::new());
    let facts = Facts { policy: Policy::default(), ..world.ctx().facts.clone() };
    let host = host(&[]);
    for (asked, given) in [(7, 7), (86_400, 86_400), (1_000_000, 86_400)] {
        let source = deleted(asked);
        let seen = Seen { virtual_object: Some(&source), host_object: Some(&host), ..Seen::default() };
        let steps = plan(&Ctx { facts: &facts, ..world.ctx() }, &*pod().mapper, seen).steps;
        let graces: Vec<_> = steps
            .iter()
            .filter_map(|step| if let Step::DeleteHost { grace, .. } = step { Some(*grace) } else { None })
            .collect();
        assert_eq!(graces, [Some(given)], "{asked}");
    }
}

#[test]
fn a_pod_that_ran_is_never_made_again() {
    let source =
        source(&[("/spec/nodeName", json!("node-1")), ("/status", json!({"conditions": scheduled()}))]);
    let steps = decide(Some(&source), None).steps;
    assert!(matches!(steps.as_slice(), [Step::DeleteVirtual { grace: 0, .. }]), "{steps:?}");
}

#[test]
fn a_pod_that_was_placed_is_never_made_again_whoever_knows_it() {
    let node = ("/spec/nodeName", json!("node-1"));
    let bound = source(&[node.clone(), ("/status", json!({"conditions": scheduled()}))]);
    assert_eq!(names(&decide(Some(&bound), None)), ["delete virtual"], "a binding is enough");
    assert_eq!(
        names(&decide(Some(&source(&[node])), None)),
        ["create host"],
        "the tenant has asked for a node"
    );
    let unbound = source(&[]);
    assert_eq!(names(&decide(Some(&unbound), None)), ["create host"]);
    let placed = Seen { virtual_object: Some(&unbound), was_placed: true, ..Seen::default() };
    assert_eq!(names(&decide_about(placed)), ["delete virtual"], "the virtual side could not be written");
}

#[test]
fn a_pod_on_a_node_that_is_not_ours_is_left_alone_and_one_that_has_ended_is_never_made() {
    let on_theirs = ("/spec/nodeName", json!("virtual-kubelet"));
    let deletion = ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let runs = (
        "/status",
        json!({"phase": "Running", "conditions": scheduled(), "startTime": "2026-01-01T00:00:00Z"}),
    );
    for changes in
        [vec![on_theirs.clone()], vec![on_theirs.clone(), runs.clone()], vec![on_theirs, runs, deletion]]
    {
        let source = source(&changes);
        let seen = Seen { virtual_object: Some(&source), is_elsewhere: true, ..Seen::default() };
        assert_eq!(names(&decide_about(seen)), Vec::<&str>::new(), "{changes:?}");
    }
    for phase in ["Succeeded", "Failed"] {
        let ended = source(&[("/status", json!({"phase": phase}))]);
        assert_eq!(names(&decide(Some(&ended), None)), Vec::<&str>::new(), "{phase}");
    }
}

const IDENTITY: &str = "/metadata/annotations/weft.dev~1identity";
const DIGEST: &str = "/metadata/annotations/weft.dev~1digest";

#[test]
fn a_host_pod_that_lost_its_identity_gets_it_back_if_it_is_proven_to_be_of_the_pod() {
    let started = ("/status", json!({"phase": "Running", "startTime": "2026-11-20T00:00:00Z"}));
    let stripped = host(&[(IDENTITY, Value::Null)]);
    let plan = decide(Some(&source(&[])), Some(&stripped));
    let [Step::PatchHost { change, .. }] = plan.steps.as_slice() else {
        panic!("one patch: {:?}", plan.steps)
    };
    assert!(change.body.pointer(IDENTITY).is_some(), "{change:?}");

    let bare = [(IDENTITY, Value::Null), (DIGEST, Value::Null), started.clone()];
    let plan = decide(Some(&source(&[started])), Some(&host(&bare)));
    assert_eq!((names(&plan), plan.hold), (vec!["patch host"], None), "it began at the same time");
}

#[test]
fn a_host_pod_that_lost_its_identity_is_left_alone_if_nothing_proves_whose_it_is_and_goes_with_its_pod() {
    let stripped = host(&[(IDENTITY, Value::Null)]);
    let plan = decide(Some(&source(&[("/metadata/uid", json!("another"))])), Some(&stripped));
    let reason = plan.hold.as_ref().map(|hold| hold.problem().reason.as_str());
    assert_eq!((names(&plan), reason), (Vec::new(), Some("HostNameTaken")));
    assert_eq!(names(&decide(None, Some(&stripped))), ["delete host"], "it is nobody else's");
    let deleted = ("/metadata/deletionTimestamp", json!("2026-11-20T00:01:00Z"));
    let going = source(&[("/metadata/uid", json!("another")), deleted]);
    assert_eq!(names(&decide(Some(&going), Some(&stripped))).last(), Some(&"delete host"));
}

#[test]
fn the_host_pod_of_an_older_pod_of_the_same_name_goes_first() {
    let source = source(&[("/metadata/uid", json!("another"))]);
    assert_eq!(names(&decide(Some(&source), Some(&host(&[])))), ["delete host"]);
}

#[test]
fn a_host_pod_without_its_virtual_pod_goes() {
    assert_eq!(names(&decide(None, Some(&host(&[])))), ["delete host"]);
    let going = host(&[("/metadata/deletionTimestamp", json!("2026-11-20T00:01:00Z"))]);
    assert_eq!(names(&decide(None, Some(&going))), [""; 0]);
}

#[test]
fn an_eviction_on_the_host_deletes_the_virtual_pod_with_the_hosts_grace() {
    let host = host(&[
        ("/metadata/deletionTimestamp", json!("2026-11-20T00:01:00Z")),
        ("/metadata/deletionGracePeriodSeconds", json!(30)),
    ]);
    let steps = decide(Some(&source(&[])), Some(&host)).steps;
    assert!(matches!(steps.as_slice(), [Step::DeleteVirtual { grace: 30, .. }]), "{steps:?}");
}
