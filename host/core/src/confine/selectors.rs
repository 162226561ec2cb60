//! Which pods a host object selects: only those of its own virtual cluster.
//!
//! Several virtual clusters may share a host namespace. A selector that does not say whose pods it means
//! would send a Service's traffic to another tenant's pods, or close them with a policy.

use serde_json::Value;

use crate::names::CLUSTER_LABEL;
use crate::object::{HostObject, Kind};

/// What a selector means that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    NoPods,
    AllPods,
}

/// Where objects of a kind select pods by a `LabelSelector`.
const SELECTORS: &[(&str, &str, Missing)] = &[
    ("networking.k8s.io/v1/NetworkPolicy", "/spec/podSelector", Missing::AllPods),
    ("policy/v1/PodDisruptionBudget", "/spec/selector", Missing::NoPods),
];
/// Terms by which a pod is placed near others or away from them.
const TERMS: &[&str] = &["/spec/affinity/podAffinity", "/spec/affinity/podAntiAffinity"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The first selector of `object`, as a pointer, that may select pods of others than `cluster`.
pub(super) fn foreign(cluster: &str, kind: &Kind, object: &HostObject) -> Option<String> {
    match kind.as_str() {
        "v1/Pod" => foreign_term(cluster, object).or_else(|| foreign_spread(cluster, object)),
        "v1/Service" => {
            let labels = object.pointer("/spec/selector").filter(|labels| !is_empty(labels))?;
            (!names(cluster, labels)).then(|| "/spec/selector".to_owned())
        }
        kind => SELECTORS.iter().filter(|(of, ..)| *of == kind).find_map(|(_, pointer, missing)| {
            let is_foreign = match object.pointer(pointer).filter(|selector| !selector.is_null()) {
                Some(selector) => !is_scoped(cluster, selector),
                None => *missing == Missing::AllPods,
            };
            is_foreign.then(|| (*pointer).to_owned())
        }),
    }
}

fn foreign_term(cluster: &str, pod: &HostObject) -> Option<String> {
    for kind in TERMS {
        for (list, inner) in [(REQUIRED, ""), (PREFERRED, "/podAffinityTerm")] {
            let list = format!("{kind}/{list}");
            let found = items(pod, &list).position(|item| {
                item.pointer(inner).is_some_and(|term| {
                    selects_foreign(cluster, term)
                        || ["namespaces", "namespaceSelector"].iter().any(|field| has(term, field))
                })
            });
            if let Some(index) = found {
                return Some(format!("{list}/{index}"));
            }
        }
    }
    None
}

fn foreign_spread(cluster: &str, pod: &HostObject) -> Option<String> {
    let list = "/spec/topologySpreadConstraints";
    let found = items(pod, list).position(|constraint| selects_foreign(cluster, constraint));
    found.map(|index| format!("{list}/{index}/labelSelector"))
}

/// Whether `labelSelector`, without which no pod is meant, may select pods of others.
fn selects_foreign(cluster: &str, term: &Value) -> bool {
    has(term, "labelSelector") && term.get("labelSelector").is_some_and(|found| !is_scoped(cluster, found))
}

/// Whether a `LabelSelector` says whose pods it means.
fn is_scoped(cluster: &str, selector: &Value) -> bool {
    selector.get("matchLabels").is_some_and(|labels| names(cluster, labels))
}

fn names(cluster: &str, labels: &Value) -> bool {
    labels.get(CLUSTER_LABEL).and_then(Value::as_str) == Some(cluster)
}

fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some_and(|found| !found.is_null() && !found.as_array().is_some_and(Vec::is_empty))
}

fn is_empty(labels: &Value) -> bool {
    labels.is_null() || labels.as_object().is_some_and(serde_json::Map::is_empty)
}

fn items<'a>(object: &'a HostObject, list: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(list).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(kind: &str, spec: &Value) -> Option<String> {
        foreign("vc", &Kind::new(kind), &HostObject::from_json(json!({"spec": spec})).unwrap())
    }

    #[test]
    fn a_selector_says_whose_pods_it_means() {
        let scoped = json!({"matchLabels": {CLUSTER_LABEL: "vc"}});
        assert_eq!(found("v1/Service", &json!({})), None);
        assert_eq!(found("v1/Service", &json!({"selector": {"app": "a", CLUSTER_LABEL: "vc"}})), None);
        assert!(found("v1/Service", &json!({"selector": {"app": "a"}})).is_some());
        let policy = "networking.k8s.io/v1/NetworkPolicy";
        assert_eq!(found(policy, &json!({"podSelector": scoped})), None);
        assert!(found(policy, &json!({"podSelector": {}})).is_some());
        assert!(found(policy, &json!({})).is_some());
        assert_eq!(found("policy/v1/PodDisruptionBudget", &json!({})), None);
        assert!(found("policy/v1/PodDisruptionBudget", &json!({"selector": {}})).is_some());
    }

    #[test]
    fn a_pod_keeps_near_to_and_away_from_pods_of_its_own_cluster_only() {
        let scoped = json!({"matchLabels": {CLUSTER_LABEL: "vc"}});
        let near = |term: Value| json!({"affinity": {"podAffinity": {REQUIRED: [term]}}});
        assert_eq!(found("v1/Pod", &near(json!({"labelSelector": scoped}))), None);
        assert_eq!(found("v1/Pod", &near(json!({"topologyKey": "zone"}))), None);
        assert!(found("v1/Pod", &near(json!({"labelSelector": {}}))).is_some());
        assert!(found("v1/Pod", &near(json!({"labelSelector": scoped, "namespaceSelector": {}}))).is_some());
        let spread = |selector: &Value| json!({"topologySpreadConstraints": [{"labelSelector": selector}]});
        assert_eq!(found("v1/Pod", &spread(&scoped)), None);
        assert!(found("v1/Pod", &spread(&json!({}))).is_some());
    }
}
