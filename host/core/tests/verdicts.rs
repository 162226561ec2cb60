//! What each verdict of an extension does to the two objects of a pair.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::context::{Condition, Ctx};
use weft_core::edit::Edit;
use weft_core::extension::{Answer, Direction, Extension, Failure, OnFailure, Request, Terms};
use weft_core::object::{HostObject, VirtualObject};
use weft_core::plan::{Plan, Seen, Step, plan};
use weft_core::verdict::{By, Hold, Problem, Verdict, Wait};

use cases::{Case, World};

/// An extension that has one answer on the way to the host, and changes nothing on the way back.
struct Judge {
    terms: Terms,
    verdict: Verdict<Edit>,
}

impl Extension for Judge {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn call(&self, _: &Ctx<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
        let is_asked = request.direction == Direction::ToHost;
        let condition = Condition {
            kind: "judge.plugins.weft.dev/Judged".to_owned(),
            status: "True",
            reason: "Seen".to_owned(),
            message: String::new(),
        };
        Ok(Answer {
            verdict: if is_asked { self.verdict.clone() } else { Ok(Edit::Unchanged) },
            events: Vec::new(),
            // A plugin that has none says so, each time that it is asked.
            conditions: Some(is_asked.then_some(condition).into_iter().collect()),
        })
    }

    fn refused(&self, _: &Failure) {}
}

fn pod() -> &'static Case {
    cases::all().iter().find(|case| case.title == "pod/plain").expect("there is a golden case pod/plain")
}

fn problem() -> Problem {
    Problem::of(By::Plugin("judge".to_owned()), "Judged", "so it is")
}

/// A decision about the pod, whose labels the tenant has changed since `host` was made.
fn judged(verdict: Verdict<Edit>, host: Option<&HostObject>) -> Plan {
    let mut source = pod().source.clone();
    source.labels_mut().insert("turn".to_owned(), "next".into());
    judged_of(&source, verdict, host)
}

fn judged_of(source: &VirtualObject, verdict: Verdict<Edit>, host: Option<&HostObject>) -> Plan {
    let terms = Terms {
        to_host: true,
        to_virtual: true,
        host_writes: Vec::new(),
        virtual_writes: Vec::new(),
        on_failure: OnFailure::Hold,
    };
    let mut chain = Chain::new(pod().mapper.clone());
    chain.followed_by(Arc::new(Judge { terms, verdict }));
    let world = World::new(Vec::new());
    plan(
        &world.ctx(),
        &chain,
        Seen { virtual_object: Some(source), host_object: host, used: false, ..Seen::default() },
    )
}

/// The host pod as it was made, with what its kubelet says by now.
fn running() -> HostObject {
    let world = World::new(Vec::new());
    let seen =
        Seen { virtual_object: Some(&pod().source), host_object: None, used: false, ..Seen::default() };
    let made = plan(&world.ctx(), &*pod().mapper, seen).steps.into_iter().find_map(|step| match step {
        Step::CreateHost(object) => Some(object),
        _ => None,
    });
    let mut host = made.expect("a pod is made").into_json();
    merge(
        &mut host,
        json!({
            "metadata": {"uid": "host-uid", "generation": 1},
            "spec": {"nodeName": "node-1"},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"},
        }),
    );
    HostObject::from_json(host).expect("it is an object")
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            more.into_iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Value::Null), value));
        }
        (into, more) => *into = more,
    }
}

/// The steps that reach the host, and those that reach the tenant's object.
fn sides(plan: &Plan) -> (Vec<&'static str>, Vec<&'static str>) {
    plan.steps.iter().map(Step::name).partition(|name| name.ends_with("host"))
}

/// Whether the tenant's object gets the rule's condition.
fn writes_the_condition(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| match step {
        Step::PatchVirtual { change, .. } => {
            change.body.to_string().contains("judge.plugins.weft.dev/Judged")
        }
        _ => false,
    })
}

fn all() -> [(&'static str, Verdict<Edit>); 6] {
    let wait = Err(Hold::Wait(Box::new(Wait { problem: problem(), until: BTreeSet::new(), after: None })));
    [
        ("apply", Ok(Edit::Unchanged)),
        ("skip", Err(Hold::Skip(problem()))),
        ("absent", Err(Hold::Absent(problem()))),
        ("wait", wait),
        ("reject", Err(Hold::Reject(problem()))),
        ("fail", Err(Hold::Fail(problem()))),
    ]
}

#[test]
fn only_apply_makes_a_host_object_and_every_verdict_brings_its_conditions() {
    for (name, verdict) in all() {
        let plan = judged(verdict, None);
        let (host, tenants) = sides(&plan);
        assert_eq!(host, if name == "apply" { vec!["create host"] } else { Vec::new() }, "{name}");
        // With a host object comes a status, and the conditions with it.
        assert_eq!(writes_the_condition(&plan), name != "apply", "{name}: {tenants:?}");
    }
}

#[test]
fn what_is_held_back_on_the_way_to_the_host_holds_no_status_back() {
    let host = running();
    for (name, verdict) in all() {
        let plan = judged(verdict, Some(&host));
        let (to_host, tenants) = sides(&plan);
        let expected = match name {
            "apply" => "patch host",
            "absent" => "delete host",
            _ => "",
        };
        assert_eq!(to_host.join(", "), expected, "{name}");
        assert!(tenants.contains(&"patch virtual"), "{name}: {tenants:?}");
        assert!(writes_the_condition(&plan), "{name}");
    }
}

#[test]
fn conditions_stay_where_the_rule_is_not_asked_about_the_way_to_the_host() {
    let host = running();
    let mut ending = pod().source.clone().into_json();
    let old = json!([{"type": "judge.plugins.weft.dev/Judged", "status": "True", "reason": "Seen"}]);
    merge(
        &mut ending,
        json!({
            "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30},
            "spec": {"nodeName": "node-1"},
            "status": {"conditions": old},
        }),
    );
    let ending = VirtualObject::from_json(ending).expect("it is an object");
    let plan = judged_of(&ending, Ok(Edit::Unchanged), Some(&host));
    assert_eq!(sides(&plan).0, ["delete host"]);
    for step in &plan.steps {
        let conditions = match step {
            Step::PatchVirtual { change, .. } => change.body.pointer("/status/conditions"),
            _ => None,
        };
        let is_kept = conditions.is_none_or(|all| all.to_string().contains("judge.plugins.weft.dev/Judged"));
        assert!(is_kept, "{step:?}");
    }
    assert!(plan.steps.len() > 1, "the status flows back: {plan:?}");
}
