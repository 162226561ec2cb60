//! Which pods a host object selects: only those of its own virtual cluster.
//!
//! Several virtual clusters may share a host namespace. A selector that does not say whose pods it means
//! would send a Service's traffic to another tenant's pods, or close them with a policy. Where a kind has
//! selectors is declared with the kind; of kinds that many clusters have, `well_known` knows it as well, so that
//! a declaration which leaves one out opens nothing.

use serde_json::Value;

use crate::keys::CLUSTER_LABEL;
use crate::object::{Fields, HostObject};
use crate::paths;
use crate::selectors::{Form, Missing, Selector};
use crate::spec::KindSpec;
use crate::well_known;

/// The first selector of `object`, as a pointer, that may select pods of others than `cluster`.
pub(super) fn foreign(cluster: &str, spec: &KindSpec, object: &HostObject) -> Option<String> {
    let well_known = well_known::selectors(&spec.resource);
    let selectors = spec.selectors.iter().chain(&well_known);
    selectors.into_iter().find_map(|selector| foreign_at(cluster, selector, object))
}

/// The first place, as a pointer, where `after` lacks a selector, if it lacks more of them than `before` and nobody
/// knows what a missing one selects.
pub(super) fn removed(spec: &KindSpec, before: &HostObject, after: &HostObject) -> Option<String> {
    let known = well_known::selectors(&spec.resource);
    let is_unknown = |selector: &&Selector| {
        selector.missing == Missing::Unknown && known.iter().all(|known| known.path != selector.path)
    };
    spec.selectors.iter().filter(is_unknown).find_map(|selector| {
        let lacking = |object: &HostObject| {
            let mut places = Vec::new();
            paths::each_place(object.fields(), &selector.path, &mut |pointer, value| {
                places.extend(value.is_none().then(|| pointer.to_owned()));
            });
            places
        };
        // Counted, because elements of a list can move.
        let (had, has) = (lacking(before), lacking(after));
        if has.len() > had.len() { has.into_iter().find(|place| !had.contains(place)) } else { None }
    })
}

/// The first place of `selector` at which `object` may select pods of others.
fn foreign_at(cluster: &str, selector: &Selector, object: &HostObject) -> Option<String> {
    let mut found = None;
    paths::each_place(object.fields(), &selector.path, &mut |pointer, value| {
        let is_foreign = match value {
            Some(value) => selects_foreign(cluster, selector.form, value),
            None => selector.missing == Missing::AllPods,
        };
        if is_foreign && found.is_none() {
            found = Some(pointer.to_owned());
        }
    });
    found
}

/// Whether a selector that is there may select pods of others.
fn selects_foreign(cluster: &str, form: Form, selector: &Value) -> bool {
    match form {
        Form::Labels => !selector.as_object().is_some_and(Fields::is_empty) && !names(cluster, selector),
        Form::LabelSelector => !is_scoped(cluster, selector),
        // On the host, virtual namespaces are one, and others are not the tenant's.
        Form::Namespaces => !selector.as_object().is_some_and(Fields::is_empty),
        Form::AffinityTerm => {
            // Without a `labelSelector` no pod is meant. On the host, all pods are in one namespace.
            let labels = selector.get("labelSelector").filter(|labels| !labels.is_null());
            labels.is_some_and(|labels| !is_scoped(cluster, labels))
                || ["namespaces", "namespaceSelector"].iter().any(|field| has(selector, field))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ResourceType;
    use serde_json::json;

    /// A kind with these selectors.
    fn kind(selectors: &[Selector]) -> KindSpec {
        KindSpec { selectors: selectors.to_vec(), ..KindSpec::core("Widget", "widgets") }
    }

    /// A kind of which the mapping declares nothing.
    fn undeclared(group: &'static str, kind: &'static str) -> KindSpec {
        KindSpec::new(ResourceType { group: group.into(), ..ResourceType::core(kind, "plural") })
    }

    fn found(spec: &KindSpec, content: &Value) -> Option<String> {
        foreign("vc", spec, &HostObject::from_json(json!({"spec": content})).unwrap())
    }

    fn scoped() -> Value {
        json!({"matchLabels": {CLUSTER_LABEL: "vc"}})
    }

    #[test]
    fn labels_name_the_cluster_or_are_empty() {
        let kind = kind(&[Selector::labels("/spec/selector")]);
        for content in [
            json!({}),
            json!({"selector": null}),
            json!({"selector": {}}),
            json!({"selector": {"app": "a", CLUSTER_LABEL: "vc"}}),
        ] {
            assert_eq!(found(&kind, &content), None, "{content}");
        }
        for selector in [json!({"app": "a"}), json!({CLUSTER_LABEL: "other"}), json!("app=a"), scoped()] {
            let place = found(&kind, &json!({"selector": selector}));
            assert_eq!(place.as_deref(), Some("/spec/selector"), "{selector}");
        }
    }

    #[test]
    fn a_label_selector_names_the_cluster_or_is_missing() {
        let kind = kind(&[Selector::label_selector("/spec/targets/*/selector")]);
        let targets = |selector: Value| json!({"targets": [{"selector": scoped()}, {"selector": selector}]});
        for content in [json!({}), json!({"targets": [{}]}), targets(Value::Null), targets(scoped())] {
            assert_eq!(found(&kind, &content), None, "{content}");
        }
        let labels = json!({CLUSTER_LABEL: "vc"});
        for selector in [json!({}), json!({"matchLabels": {"app": "a"}}), json!("app=a"), labels] {
            let place = found(&kind, &targets(selector.clone()));
            assert_eq!(place.as_deref(), Some("/spec/targets/1/selector"), "{selector}");
        }
        let by_name = json!({"targets": {"a/b": {"selector": {}}}});
        assert_eq!(found(&kind, &by_name).as_deref(), Some("/spec/targets/a~1b/selector"));
    }

    #[test]
    fn an_affinity_term_names_the_cluster_and_no_namespaces() {
        let kind = kind(&[Selector::affinity_term("/spec/terms/*")]);
        let term = |term: Value| json!({"terms": [term]});
        for fine in [json!({"labelSelector": scoped()}), json!({"topologyKey": "zone", "namespaces": []})] {
            assert_eq!(found(&kind, &term(fine.clone())), None, "{fine}");
        }
        for bad in [
            json!({"labelSelector": {}}),
            json!({"labelSelector": scoped(), "namespaceSelector": {}}),
            json!({"labelSelector": scoped(), "namespaces": ["team-b"]}),
        ] {
            assert_eq!(found(&kind, &term(bad.clone())).as_deref(), Some("/spec/terms/0"), "{bad}");
        }
    }

    #[test]
    fn well_known_kinds_are_judged_whatever_their_mapping_declares() {
        for version in ["v1", "v1beta1"] {
            let mut policy = undeclared("networking.k8s.io", "NetworkPolicy");
            policy.resource.version = version.into();
            assert_eq!(found(&policy, &json!({"podSelector": scoped()})), None);
            for bad in [json!({}), json!({"podSelector": {}}), json!({"podSelector": null}), json!("none")] {
                assert_eq!(found(&policy, &bad).as_deref(), Some("/spec/podSelector"), "{bad}");
            }
        }
        let budget = undeclared("policy", "PodDisruptionBudget");
        assert_eq!(found(&budget, &json!({})), None);
        assert!(found(&budget, &json!({"selector": {}})).is_some());
        // A declaration adds to what is known and takes nothing away.
        let weakened = KindSpec {
            selectors: vec![Selector::labels("/spec/podSelector")],
            ..undeclared("networking.k8s.io", "NetworkPolicy")
        };
        assert!(found(&weakened, &json!({"podSelector": {}})).is_some());
        assert_eq!(found(&undeclared("example.com", "NetworkPolicy"), &json!({"podSelector": {}})), None);
    }

    #[test]
    fn a_selector_of_an_unknown_kind_must_stay_wherever_its_element_moves() {
        let kind = kind(&[Selector::declared("/spec/targets/*/selector")]);
        let of = |targets: Value| HostObject::from_json(json!({"spec": {"targets": targets}})).unwrap();
        let before = of(json!([{"selector": scoped()}, {}]));
        for kept in
            [json!([{"selector": scoped()}, {}]), json!([{}, {"selector": scoped()}]), json!([{}]), json!([])]
        {
            assert_eq!(removed(&kind, &before, &of(kept.clone())), None, "{kept}");
        }
        let moved = removed(&kind, &before, &of(json!([{"selector": scoped()}, {}, {}])));
        assert_eq!(moved.as_deref(), Some("/spec/targets/2/selector"));
        assert_eq!(
            removed(&kind, &before, &of(json!([{}, {}]))).as_deref(),
            Some("/spec/targets/0/selector")
        );
    }

    #[test]
    fn a_missing_selector_of_a_well_known_kind_means_what_kubernetes_says() {
        let budget = KindSpec {
            selectors: vec![Selector::declared("/spec/selector")],
            ..undeclared("policy", "PodDisruptionBudget")
        };
        let of = |spec: Value| HostObject::from_json(json!({"spec": spec})).unwrap();
        assert_eq!(removed(&budget, &of(json!({"selector": scoped()})), &of(json!({}))), None);
    }

    #[test]
    fn the_built_in_kinds_declare_every_selector_that_the_api_has() {
        let paths = |kind: &str| -> Vec<String> {
            let mappers = crate::kinds::builtin();
            let mapper = mappers.iter().find(|mapper| mapper.spec().resource.kind == kind).unwrap();
            mapper.spec().selectors.iter().map(|selector| selector.path.clone()).collect()
        };
        assert_eq!(paths("Service"), ["/spec/selector"]);
        let affinity = "DuringSchedulingIgnoredDuringExecution";
        let mut terms = Vec::new();
        for kind in ["podAffinity", "podAntiAffinity"] {
            terms.push(format!("/spec/affinity/{kind}/required{affinity}/*"));
            terms.push(format!("/spec/affinity/{kind}/preferred{affinity}/*/podAffinityTerm"));
        }
        terms.push("/spec/topologySpreadConstraints/*/labelSelector".to_owned());
        assert_eq!(paths("Pod"), terms);
    }
}
