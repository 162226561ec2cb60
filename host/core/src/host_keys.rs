//! Under which key a tenant's label or annotation stands on the host, where controllers might obey it.
//!
//! A key that the operator's policy does not let through is escaped like one of weft's own domain
//! ([`labels::escaped`]): on objects, and in each place where a kind selects pods, so that selectors match what they
//! matched before. What an extension selects is escaped with the rest, whoever wrote it.

use serde_json::Value;

use crate::labels;
use crate::object::{Fields, HostObject, ResourceType};
use crate::paths;
use crate::policy::metadata::KeyPolicy;
use crate::selectors::{Form, Selector};
use crate::spec::KindSpec;

/// Where a `NetworkPolicy` selects pods that it does not apply to. What is selected there opens only the tenant's own pods, so
/// no kind has to declare it for the guard.
const PEERS: &[&str] = &["/spec/ingress/*/from/*/podSelector", "/spec/egress/*/to/*/podSelector"];

/// The host's key of a pod's label or annotation, by the policy of the one or the other.
pub fn to_host(policy: &KeyPolicy, key: &str) -> String {
    if labels::is_reserved(key) || policy.denied(key).is_some() {
        labels::escaped(key)
    } else {
        key.to_owned()
    }
}

/// A map of labels or annotations of an object of the kind `resource`, with the host's keys. Values are untouched.
pub fn map_to_host(policy: &KeyPolicy, resource: &ResourceType, map: &Fields) -> Fields {
    let key_to_host = |key: &String| {
        let is_escaped = labels::is_reserved(key) || policy.denied_on(resource, key).is_some();
        if is_escaped { labels::escaped(key) } else { key.clone() }
    };
    map.iter().map(|(key, value)| (key_to_host(key), value.clone())).collect()
}

/// The labels of a template of pods, with the host's keys.
pub fn template_to_host(policy: &KeyPolicy, map: &Fields) -> Fields {
    map.iter().map(|(key, value)| (to_host(policy, key), value.clone())).collect()
}

/// Escapes what is denied in all selectors of `object`, in which weft's own domain is done with.
pub fn escape_selectors(policy: &KeyPolicy, spec: &KindSpec, object: &mut HostObject) {
    for Selector { path, form, .. } in &spec.selectors {
        paths::each_in_mut(object.fields_mut(), path, &mut |selector| escape(policy, *form, selector));
    }
    if spec.resource.group == "networking.k8s.io" && spec.resource.kind == "NetworkPolicy" {
        for path in PEERS {
            paths::each_in_mut(object.fields_mut(), path, &mut |selector| {
                escape(policy, Form::LabelSelector, selector);
            });
        }
    }
}

fn escape(policy: &KeyPolicy, form: Form, selector: &mut Value) {
    match form {
        Form::Labels => escape_map(policy, selector),
        Form::LabelSelector => {
            if let Some(labels) = selector.get_mut("matchLabels") {
                escape_map(policy, labels);
            }
            let expressions = selector.get_mut("matchExpressions").and_then(Value::as_array_mut);
            for expression in expressions.into_iter().flatten() {
                if let Some(Value::String(key)) = expression.get_mut("key")
                    && is_denied(policy, key)
                {
                    *key = labels::escaped(key);
                }
            }
        }
        Form::AffinityTerm => {
            if let Some(selector) = selector.get_mut("labelSelector") {
                escape(policy, Form::LabelSelector, selector);
            }
        }
        // It selects no pods, and is empty on the host.
        Form::Namespaces => {}
    }
}

fn escape_map(policy: &KeyPolicy, map: &mut Value) {
    if let Value::Object(map) = map
        && map.keys().any(|key| is_denied(policy, key))
    {
        let escaped = |key: String| if is_denied(policy, &key) { labels::escaped(&key) } else { key };
        *map = std::mem::take(map).into_iter().map(|(key, value)| (escaped(key), value)).collect();
    }
}

fn is_denied(policy: &KeyPolicy, key: &str) -> bool {
    !labels::is_reserved(key) && policy.denied(key).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is left of a selector at `/spec/selector`.
    fn selector(form: Form, selector: &Value) -> Value {
        let place = Selector { form, ..Selector::labels("/spec/selector") };
        let spec = KindSpec::core("Widget", "widgets").selectors([place]);
        let mut object = HostObject::from_json(json!({"spec": {"selector": selector}})).unwrap();
        escape_selectors(&KeyPolicy::default(), &spec, &mut object);
        object.pointer("/spec/selector").unwrap().clone()
    }

    #[test]
    fn a_selector_of_any_form_finds_what_its_labels_became() {
        let policy = KeyPolicy::default();
        let (key, on_host) = ("istio.io/rev", to_host(&policy, "istio.io/rev"));
        assert_eq!(on_host, "istio.io.tenant.weft.dev/rev");
        let labels = |key: &str| json!({key: "a", "app": "b", "weft.dev/cluster": "vc"});
        let by_labels = |key: &str| json!({"matchLabels": labels(key), "matchExpressions": [{"key": key, "operator": "Exists"}, {"key": "app"}]});
        assert_eq!(selector(Form::Labels, &labels(key)), labels(&on_host));
        assert_eq!(selector(Form::LabelSelector, &by_labels(key)), by_labels(&on_host));
        let term =
            |key: &str| json!({"labelSelector": by_labels(key), "topologyKey": "kubernetes.io/hostname"});
        assert_eq!(selector(Form::AffinityTerm, &term(key)), term(&on_host));
        assert_eq!(selector(Form::Labels, &Value::Null), Value::Null);
    }

    #[test]
    fn peers_of_a_network_policy_are_found_too() {
        let resource = ResourceType {
            group: "networking.k8s.io".into(),
            ..ResourceType::core("NetworkPolicy", "networkpolicies")
        };
        let policy = |key: &str| {
            let peer = json!({"podSelector": {"matchLabels": {key: "a"}}});
            json!({"spec": {"ingress": [{"from": [peer]}], "egress": [{"to": [peer, {"ipBlock": {}}]}]}})
        };
        let mut object = HostObject::from_json(policy("linkerd.io/a")).unwrap();
        escape_selectors(&KeyPolicy::default(), &KindSpec::new(resource), &mut object);
        assert_eq!(Value::Object(object.into_fields()), policy("linkerd.io.tenant.weft.dev/a"));
    }
}
