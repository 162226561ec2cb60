//! What a pod takes of the node that it runs on, as the scheduler counts it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::pod::quantity;
use crate::object::{Fields, HostObject};

/// Amounts by the resource's name, in billionths.
pub type Amounts = BTreeMap<String, i128>;

/// The resource that each pod takes one of.
const PODS: &str = "pods";
const ONE: i128 = 1_000_000_000;

/// What `pod` takes; nothing once it has ended.
pub fn of(pod: &HostObject) -> Amounts {
    if matches!(pod.text("/status/phase"), Some("Succeeded" | "Failed")) {
        return Amounts::new();
    }
    let mut all = Amounts::new();
    for container in items(pod, "/spec/containers") {
        add(&mut all, &requests(container));
    }
    let (sidecars, peak) = initial(pod);
    add(&mut all, &sidecars);
    raise(&mut all, &peak);
    // What is requested for the pod as a whole stands in place of the sum.
    all.extend(amounts(pod.pointer("/spec/resources/requests")));
    add(&mut all, &amounts(pod.pointer("/spec/overhead")));
    add(&mut all, &Amounts::from([(PODS.to_owned(), ONE)]));
    all
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = sum.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

/// Takes `less` from `sum`; what is nothing then goes.
pub fn subtract(sum: &mut Amounts, less: &Amounts) {
    for (name, amount) in less {
        let sum = sum.entry(name.clone()).or_default();
        *sum = sum.saturating_sub(*amount);
    }
    sum.retain(|_, amount| *amount != 0);
}

/// What init containers take that go on beside the others, and the most that all take while the pod starts: each of the rest
/// runs alone, beside those that went on before it.
fn initial(pod: &HostObject) -> (Amounts, Amounts) {
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in items(pod, "/spec/initContainers") {
        let requests = requests(container);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            add(&mut sidecars, &requests);
            raise(&mut peak, &sidecars);
        } else {
            let mut now = sidecars.clone();
            add(&mut now, &requests);
            raise(&mut peak, &now);
        }
    }
    (sidecars, peak)
}

/// Raises each amount of `all` to that of `least`.
fn raise(all: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let all = all.entry(name.clone()).or_default();
        *all = (*all).max(*amount);
    }
}

fn requests(container: &Value) -> Amounts {
    amounts(container.pointer("/resources/requests"))
}

/// The amounts of a map of quantities; what is no quantity counts for nothing.
fn amounts(map: Option<&Value>) -> Amounts {
    let entries = map.and_then(Value::as_object).map(Fields::iter).into_iter().flatten();
    let amount = |value: &Value| match value {
        Value::String(text) => quantity::nanos(text),
        Value::Number(number) => quantity::nanos(&number.to_string()),
        _ => None,
    };
    entries.filter_map(|(name, value)| Some((name.clone(), amount(value)?.max(0)))).collect()
}

fn items<'a>(pod: &'a HostObject, pointer: &str) -> impl Iterator<Item = &'a Value> {
    pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of_pod(spec: &Value, phase: &str) -> Vec<(String, String)> {
        let pod = json!({"metadata": {"name": "a"}, "spec": spec, "status": {"phase": phase}});
        let amounts = of(&HostObject::from_json(pod).unwrap());
        amounts.into_iter().map(|(name, amount)| (name, quantity::text(amount, false))).collect()
    }

    fn container(cpu: &str, policy: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}, "restartPolicy": policy})
    }

    fn cpu(spec: &Value) -> String {
        of_pod(spec, "Running").into_iter().find(|(name, _)| name == "cpu").unwrap_or_default().1
    }

    #[test]
    fn a_pod_takes_what_its_containers_request_and_its_place() {
        let spec =
            json!({"containers": [container("300m", ""), container("1", "")], "overhead": {"cpu": "50m"}});
        let wanted = [("cpu", "1350m"), ("pods", "1")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(of_pod(&spec, "Running"), wanted);
        assert_eq!(of_pod(&spec, "Succeeded"), [], "it has ended");
    }

    #[test]
    fn init_containers_run_one_by_one_and_sidecars_beside_all_that_follow() {
        let of = |init: Value| cpu(&json!({"containers": [container("1", "")], "initContainers": init}));
        assert_eq!(of(json!([container("3", ""), container("2", "")])), "3");
        assert_eq!(of(json!([container("500m", "Always"), container("3", "")])), "3500m");
        assert_eq!(of(json!([container("3", ""), container("500m", "Always")])), "3");
        assert_eq!(of(json!([container("500m", "Always"), container("1", "")])), "1500m");
    }

    #[test]
    fn what_is_requested_for_the_whole_pod_stands_in_place_of_the_sum() {
        let whole = json!({"requests": {"cpu": "4"}});
        assert_eq!(cpu(&json!({"containers": [container("1", "")], "resources": whole})), "4");
        assert_eq!(cpu(&json!({"containers": [container("many", "")]})), "", "it is no quantity");
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let (mut sum, one) = (Amounts::new(), Amounts::from([("cpu".to_owned(), 5)]));
        add(&mut sum, &one);
        add(&mut sum, &one);
        subtract(&mut sum, &one);
        assert_eq!(sum, one);
        subtract(&mut sum, &one);
        assert!(sum.is_empty());
    }
}
