//! Pods: their defaults, what may change about them, and how long they may go on when they are deleted.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::object::{default, elements, fields, map, set, text};
use super::refusal::Refusal;
use super::rules::{Rules, Subject};
use super::storage::Key;

pub(super) const RULES: Rules =
    Rules { create, update, status: complete_conditions, grace: |pod, wanted| Some(grace(pod, wanted)) };

const ACCOUNT: &str = "default";
const LISTS: &[&str] = &["containers", "initContainers"];

fn create(pod: &mut Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    complete(pod);
    tolerate(pod);
    check_account(pod, subject)?;
    check_containers(pod, subject)?;
    let class = quality(pod);
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if !elements(pod, "/spec/schedulingGates").is_empty() {
        let message = "Scheduling is blocked due to non-empty scheduling gates";
        fields(&mut status).insert(
            "conditions".into(),
            json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message,
                "lastProbeTime": null, "lastTransitionTime": subject.now,
            }]),
        );
    }
    fields(pod).insert("status".into(), status);
    Ok(())
}

fn complete(pod: &mut Value) {
    let spec = map(pod, "spec");
    for (name, value) in [
        ("dnsPolicy", json!("ClusterFirst")),
        ("enableServiceLinks", json!(true)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
        ("priority", json!(0)),
        ("restartPolicy", json!("Always")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("serviceAccountName", json!(ACCOUNT)),
        ("terminationGracePeriodSeconds", json!(30)),
    ] {
        default(spec, name, value);
    }
    let account = spec.get("serviceAccountName").cloned();
    set(spec, "serviceAccount", account);
    for list in LISTS {
        for container in spec.get_mut(*list).and_then(Value::as_array_mut).into_iter().flatten() {
            complete_container(container);
        }
    }
}

/// A pod outlives a node that is away for five minutes, unless it says something else.
fn tolerate(pod: &mut Value) {
    let mut all = elements(pod, "/spec/tolerations").to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !all.iter().any(|toleration| text(toleration, "/key") == key) {
            all.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
    map(pod, "spec").insert("tolerations".into(), all.into());
}

fn complete_container(container: &mut Value) {
    let image = text(container, "/image");
    let has_moving_tag =
        image.ends_with(":latest") || !image.rsplit('/').next().is_some_and(|name| name.contains([':', '@']));
    let policy = if has_moving_tag { "Always" } else { "IfNotPresent" };
    let container = fields(container);
    default(container, "imagePullPolicy", policy);
    default(container, "resources", json!({}));
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
}

/// The default account is a controller's work, and is believed to be there.
fn check_account(pod: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    let account = text(pod, "/spec/serviceAccountName");
    let namespace = text(pod, "/metadata/namespace");
    let accounts = Kind::core("serviceaccounts").filter(|_| account != ACCOUNT);
    match accounts.filter(|kind| subject.storage.get(&Key::new(kind, namespace, account)).is_none()) {
        Some(_) => Err(Refusal::forbidden(subject.kind, &subject.name, "its service account is not found")),
        None => Ok(()),
    }
}

fn check_containers(pod: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    let containers = elements(pod, "/spec/containers");
    if containers.is_empty() {
        return Err(subject.required("spec.containers", "a pod has containers"));
    }
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if text(container, &format!("/{field}")).is_empty() {
                return Err(subject.required(&format!("spec.containers[{index}].{field}"), "it is missing"));
            }
        }
    }
    Ok(())
}

/// The quality-of-service class.
fn quality(pod: &Value) -> &'static str {
    let all: Vec<&Value> = LISTS.iter().flat_map(|list| elements(pod, &format!("/spec/{list}"))).collect();
    let at = |container: &Value, pointer: &str| container.pointer(pointer).cloned();
    let has_any = |container: &&Value| {
        ["/resources/requests", "/resources/limits"].iter().any(|pointer| at(container, pointer).is_some())
    };
    let is_fixed = |container: &&Value| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = at(container, &format!("/resources/limits/{name}"));
            let request = at(container, &format!("/resources/requests/{name}"));
            limit.is_some() && (request.is_none() || request == limit)
        })
    };
    if all.iter().all(is_fixed) {
        "Guaranteed"
    } else if all.iter().any(has_any) {
        "Burstable"
    } else {
        "BestEffort"
    }
}

/// Images, deadlines and gates may change, and tolerations may be added.
fn update(pod: &mut Value, old: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    complete(pod);
    tolerate(pod);
    let before = elements(old, "/spec/tolerations");
    let tolerations = elements(pod, "/spec/tolerations");
    if before.iter().any(|toleration| !tolerations.contains(toleration)) || fixed(pod) != fixed(old) {
        return Err(subject.field_forbidden("spec", "pod updates may not change fields other than a few"));
    }
    let gates = elements(old, "/spec/schedulingGates");
    let new = elements(pod, "/spec/schedulingGates").iter().position(|gate| !gates.contains(gate));
    if let Some(index) = new {
        let field = format!("spec.schedulingGates[{index}].name");
        return Err(subject.field_forbidden(&field, "only deletion is allowed"));
    }
    if elements(pod, "/spec/schedulingGates").is_empty() {
        map(pod, "spec").remove("schedulingGates");
    }
    Ok(())
}

/// The part of the spec that stays as it was made.
fn fixed(pod: &Value) -> Value {
    let mut spec = pod.get("spec").cloned().unwrap_or_default();
    let spec_fields = fields(&mut spec);
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        spec_fields.remove(name);
    }
    for list in LISTS {
        for container in spec_fields.get_mut(*list).and_then(Value::as_array_mut).into_iter().flatten() {
            fields(container).remove("image");
        }
    }
    spec
}

/// The times of a condition are there even if nobody knows them.
fn complete_conditions(pod: &mut Value) {
    let conditions = map(pod, "status").get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        for time in ["lastProbeTime", "lastTransitionTime"] {
            fields(condition).entry(time).or_insert(Value::Null);
        }
    }
}

/// A pod that runs nowhere, or no more, ends at once.
fn grace(pod: &Value, wanted: Option<i64>) -> i64 {
    let own = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    let runs_nowhere = text(pod, "/spec/nodeName").is_empty();
    let has_ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    match wanted.or(own).unwrap_or_default() {
        _ if runs_nowhere || has_ended => 0,
        ..0 => 1,
        seconds => seconds,
    }
}
