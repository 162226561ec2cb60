//! The actions of the guest, by name.

use serde_json::{Value, json};

use crate::bindings::exports::weft::mapping::mapper::Request;
use crate::bindings::weft::mapping::types::{
    Condition, Edit, Event, ObjectRef, Outcome, Problem, Severity, Side, Verdict, Wait,
};
use crate::bindings::weft::mapping::{log, lookup, names};
use crate::describe::kind;
use crate::exhaust;

/// Terminal escapes, line breaks, and a mark that reverses the direction of text.
const UGLY: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\t\u{9b}31m\u{2028}\u{202e}fake line";

/// Does what the annotation `key` of the tenant's object says. Not every draft has the tenant's annotations.
pub(crate) fn act(request: &Request, key: &str) -> Outcome {
    let source = request.virtual_object.as_deref().unwrap_or_default();
    let source: Value = serde_json::from_str(source).unwrap_or_default();
    let annotation =
        |key: &str| source.get("metadata")?.get("annotations")?.get(key)?.as_str().map(str::to_owned);
    let with = annotation("guest.test/with").unwrap_or_default();
    match annotation(key).as_deref() {
        Some(action) => edits(action, &with)
            .or_else(|| exhausts(action))
            .or_else(|| verdicts(action, &with))
            .or_else(|| conditions(action, &with))
            .or_else(|| reads(action, &with, request))
            .or_else(|| emits(action, &with))
            .or_else(|| prints(action, &with))
            .unwrap_or_else(|| fail(&format!("there is no action {action:?}"))),
        None => apply(Edit::Unchanged),
    }
}

/// Edits that change the draft as `with` says; the tests know which ones must be refused.
fn edits(action: &str, with: &str) -> Option<Outcome> {
    Some(apply(match action {
        "unchanged" => Edit::Unchanged,
        "patch" => Edit::Patch(with.to_owned()),
        "merge" => Edit::Merge(with.to_owned()),
        "whole" => Edit::Whole(with.to_owned()),
        "not-json" => Edit::Merge(format!("{{\"spec\": {UGLY}")),
        "unknown-operation" => Edit::Patch(json!([{"op": UGLY.repeat(1000), "path": "/spec"}]).to_string()),
        "unfit" => {
            Edit::Patch(json!([{"op": "remove", "path": format!("/spec/{}", UGLY.repeat(1000))}]).to_string())
        }
        "ugly-field" => Edit::Merge(json!({UGLY.repeat(1000): 1}).to_string()),
        "deep-json" => Edit::Merge(format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000))),
        "huge-answer" => Edit::Merge(json!({"data": {"k": "x".repeat(9 * 1024 * 1024)}}).to_string()),
        "large-answer" => Edit::Merge(json!({"data": {"k": "x".repeat(5 * 1024 * 1024)}}).to_string()),
        "patch-bomb" => Edit::Patch(copies_of_copies()),
        "byte-bomb" => Edit::Patch(copies_of_a_long_text()),
        "value-bomb" => Edit::Merge(format!("{{\"spec\":[{}0]}}", "{\"\":0},".repeat(400_000))),
        "shift-bomb" => Edit::Patch(shifts_of_a_long_list()),
        "move-bomb" => Edit::Patch(moves_of_a_large_value()),
        _ => return None,
    }))
}

fn exhausts(action: &str) -> Option<Outcome> {
    match action {
        "spin" => exhaust::spin(),
        "grow" => exhaust::grow(),
        "trap" => exhaust::trap(),
        "panic" => panic!("I give up{UGLY}"),
        "deep-recursion" => Some(fail(&exhaust::recurse(0).to_string())),
        "huge-list" => Some(with_events(150_000)),
        _ => None,
    }
}

fn verdicts(action: &str, with: &str) -> Option<Outcome> {
    let verdict = match action {
        "skip" => Verdict::Skip(problem(with)),
        "absent" => Verdict::Absent(problem(with)),
        "reject" => Verdict::Reject(problem(with)),
        "fail" => Verdict::Fail(problem(with)),
        "ugly" => Verdict::Reject(ugly_problem()),
        "wait-zero" => Verdict::Wait(Wait { problem: problem(with), until: Vec::new(), after_ms: Some(0) }),
        "wait-for-ever" => Verdict::Wait(Wait { problem: problem(with), until: Vec::new(), after_ms: None }),
        "wait-for-much" => Verdict::Wait(Wait { problem: problem(with), until: much(), after_ms: None }),
        // The Secret is named, and never looked up.
        "wait-for-secret" => {
            Verdict::Wait(Wait { problem: problem(with), until: vec![secret(with)], after_ms: None })
        }
        "wait-a-second" => {
            Verdict::Wait(Wait { problem: problem(with), until: Vec::new(), after_ms: Some(1000) })
        }
        _ => return None,
    };
    Some(outcome(verdict))
}

/// Sets one valid condition. `with` is its name.
fn conditions(action: &str, with: &str) -> Option<Outcome> {
    let verdict = match action {
        "condition" => Verdict::Apply(Edit::Unchanged),
        "condition-skip" => Verdict::Skip(problem(with)),
        _ => return None,
    };
    let condition = Condition {
        name: with.to_owned(),
        status: Some(true),
        reason: "Requested".to_owned(),
        message: "as requested".to_owned(),
    };
    Some(Outcome { conditions: vec![condition], ..outcome(verdict) })
}

/// Looks up what was not granted, too much, or secrets.
fn reads(action: &str, with: &str, request: &Request) -> Option<Outcome> {
    let text = match action {
        "read" => format!("{:?}", get("Secret", with)),
        "read-host" => format!("{:?}", lookup::get(Side::HostSide, &target("Secret", with))),
        "read-ungranted" => format!("{:?}", get("ServiceAccount", with)),
        "read-flood" => flood(20_000, |turn| get("Secret", &format!("{with}{turn}")).is_ok()),
        "read-same-flood" => flood(20_000, |_| get("Secret", with).is_ok()),
        "read-long" => {
            flood(200, |turn| get("Secret", &format!("{turn}{}", "n".repeat(1024 * 1024))).is_ok())
        }
        "find-flood" => flood(20_000, |turn| {
            let labels = [("turn".to_owned(), turn.to_string())];
            lookup::find(&kind("", "Secret"), None, &labels).is_ok()
        }),
        "log-secret" => log_secret(with),
        "panic-secret" => panic!("{:?}", get("Secret", with)),
        "host-name" => names::host_name("shop", &"n".repeat(1024 * 1024)),
        "time" => request.context.now.to_string(),
        "count" => count().to_string(),
        _ => return None,
    };
    Some(fail(&text))
}

/// Logs, emits or sets too much, or what it must not.
fn emits(action: &str, with: &str) -> Option<Outcome> {
    match action {
        "log" => log::write(log::Level::Info, with, &[]),
        "ugly-log" => log::write(log::Level::Warn, &UGLY.repeat(1000), &[(UGLY.to_owned(), UGLY.to_owned())]),
        "log-flood" => {
            for turn in 0..10_000 {
                log::write(log::Level::Info, &format!("flood {turn}"), &[]);
            }
        }
        "event-flood" => return Some(with_events(10_000)),
        "condition-forged" => return Some(with_condition(with)),
        _ => return None,
    }
    Some(apply(Edit::Unchanged))
}

/// Prints, and says what came of it.
#[cfg(feature = "worst")]
fn prints(action: &str, with: &str) -> Option<Outcome> {
    use crate::printing::print;
    match action {
        "print-and-merge" => {
            print("print-flood", "");
            Some(apply(Edit::Merge(with.to_owned())))
        }
        "print-secret" => print("print", &format!("{:?}", get("Secret", with))).map(|text| fail(&text)),
        _ => print(action, with).map(|text| fail(&text)),
    }
}

/// There is nothing to print to.
#[cfg(not(feature = "worst"))]
fn prints(_: &str, _: &str) -> Option<Outcome> {
    None
}

fn get(kind_name: &str, name: &str) -> Result<Option<String>, lookup::LookupError> {
    lookup::get(Side::VirtualSide, &target(kind_name, name))
}

fn target(kind_name: &str, name: &str) -> ObjectRef {
    ObjectRef { kind: kind("", kind_name), namespace: Some("shop".to_owned()), name: name.to_owned() }
}

/// The Secret that `namespace/name` names.
fn secret(text: &str) -> ObjectRef {
    let (namespace, name) = text.split_once('/').unwrap_or_default();
    ObjectRef { kind: kind("", "Secret"), namespace: Some(namespace.to_owned()), name: name.to_owned() }
}

/// How many of many lookups succeeded.
fn flood(lookups: u32, lookup: impl Fn(u32) -> bool) -> String {
    (0..lookups).filter(|turn| lookup(*turn)).count().to_string()
}

fn log_secret(name: &str) -> String {
    let secret = get("Secret", name);
    for level in [log::Level::Debug, log::Level::Info, log::Level::Warn, log::Level::Error] {
        log::write(level, &format!("found {secret:?}"), &[("secret".to_owned(), format!("{secret:?}"))]);
    }
    "it is in the log".to_owned()
}

/// How often this instance was called; always once.
fn count() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static CALLS: AtomicU32 = AtomicU32::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Few values, and gigabytes.
fn copies_of_a_long_text() -> String {
    let text = json!({"op": "add", "path": "/spec/text", "value": "x".repeat(400_000)});
    let copies = (0..9_000)
        .map(|turn| json!({"op": "copy", "from": "/spec/text", "path": format!("/spec/copy{turn}")}));
    Value::from([text].into_iter().chain(copies).collect::<Vec<_>>()).to_string()
}

fn copies_of_copies() -> String {
    let copies: Vec<Value> = (0..60)
        .map(|turn| json!({"op": "copy", "from": "/spec", "path": format!("/spec/a{turn}")}))
        .collect();
    Value::from(copies).to_string()
}

/// Each insertion at the front moves all items behind it.
fn shifts_of_a_long_list() -> String {
    let list = json!({"op": "add", "path": "/spec/list", "value": vec![0; 150_000]});
    let shifts = (0..9_000).map(|_| json!({"op": "add", "path": "/spec/list/0", "value": 0}));
    Value::from([list].into_iter().chain(shifts).collect::<Vec<_>>()).to_string()
}

fn moves_of_a_large_value() -> String {
    let value = json!({"op": "add", "path": "/spec/a", "value": vec![0; 150_000]});
    let moves = (0..9_000).map(|turn| {
        let (from, path) = if turn % 2 == 0 { ("/spec/a", "/spec/b") } else { ("/spec/b", "/spec/a") };
        json!({"op": "move", "from": from, "path": path})
    });
    Value::from([value].into_iter().chain(moves).collect::<Vec<_>>()).to_string()
}

/// Objects with names that are too long to exist.
fn much() -> Vec<ObjectRef> {
    (0..1000).map(|turn| target("Secret", &format!("{turn}{}", "n".repeat(1000)))).collect()
}

pub(crate) fn ugly_problem() -> Problem {
    Problem {
        reason: format!("Sync{UGLY}{}", "Refused".repeat(100)),
        message: UGLY.repeat(1000),
        field: Some(format!("/spec/{}", UGLY.repeat(1000))),
    }
}

pub(crate) fn problem(message: &str) -> Problem {
    Problem { reason: "Requested".to_owned(), message: message.to_owned(), field: None }
}

fn fail(message: &str) -> Outcome {
    outcome(Verdict::Fail(problem(message)))
}

fn apply(edit: Edit) -> Outcome {
    outcome(Verdict::Apply(edit))
}

fn with_events(number: u32) -> Outcome {
    let event = |turn| Event {
        severity: Severity::Warning,
        reason: format!("Flood{UGLY}"),
        message: format!("{turn}{UGLY}"),
    };
    Outcome { events: (0..number).map(event).collect(), ..apply(Edit::Unchanged) }
}

fn with_condition(name: &str) -> Outcome {
    let condition = || Condition {
        name: name.to_owned(),
        status: Some(true),
        reason: UGLY.to_owned(),
        message: UGLY.repeat(1000),
    };
    Outcome { conditions: (0..100).map(|_| condition()).collect(), ..apply(Edit::Unchanged) }
}

fn outcome(verdict: Verdict) -> Outcome {
    Outcome { verdict, events: Vec::new(), conditions: Vec::new(), extra: Vec::new() }
}
