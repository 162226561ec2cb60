//! Scopes pod affinity and topology spread to the right pods of this virtual cluster.
//!
//! On the host all of its pods are in one namespace, so a term's namespaces become requirements on labels.
//! A term that gives both `namespaces` and `namespaceSelector` means pods of either, which one selector
//! cannot say. It is split in two that share no pod: pods of the named namespaces, and pods of selected
//! namespaces that are not named. Two terms mean the same as one where a term forbids (required
//! anti-affinity) or adds weight (preferred); where a term demands a neighbour, two would demand two, so
//! there it is refused.

use serde_json::{Value, json};

use super::parts;
use crate::context::Ctx;
use crate::keys::{CLUSTER_LABEL, NAMESPACE_LABEL};
use crate::labels;
use crate::object::{Fields, HostObject, VirtualObject};
use crate::verdict::{By, Hold, Verdict};

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
pub(super) const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
/// The label by which every Namespace carries its own name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Virtual namespaces, as a requirement on a pod's labels can give them.
#[derive(Debug, PartialEq)]
enum Scope {
    /// All of this virtual cluster.
    All,
    /// These.
    Named(Vec<String>),
    /// Those whose labels match, except these.
    Selected(Value, Vec<String>),
}

/// Scopes every term of the pod's affinity to other pods.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    for kind in ["podAffinity", "podAntiAffinity"] {
        if let Some(Value::Array(terms)) = draft.pointer_mut(&format!("/spec/affinity/{kind}/{REQUIRED}")) {
            *terms = scope_required(ctx, source, kind, terms)?;
        }
        if let Some(Value::Array(terms)) = draft.pointer_mut(&format!("/spec/affinity/{kind}/{PREFERRED}")) {
            *terms = terms.iter().flat_map(|weighted| scope_preferred(ctx, source, weighted)).collect();
        }
    }
    Ok(())
}

/// Scopes one topology spread constraint, which counts pods of the pod's own namespace.
pub(super) fn scope_spread(ctx: &Ctx<'_>, source: &VirtualObject, constraint: &mut Fields) {
    let keys = constraint.remove("matchLabelKeys");
    let Some(selector) = constraint.get_mut("labelSelector").filter(|selector| selector.is_object()) else {
        return;
    };
    merge_keys(selector, "In", keys.as_ref(), source);
    *selector = scoped(ctx, selector, &Scope::Named(vec![source.namespace().to_owned()]));
}

fn scope_required(ctx: &Ctx<'_>, source: &VirtualObject, kind: &str, terms: &[Value]) -> Verdict<Vec<Value>> {
    let mut scoped = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let split = scope_term(ctx, source, term);
        if kind == "podAffinity" && split.len() > 1 {
            let why = "a required neighbour in either namespaces or namespaceSelector cannot be asked of the host; \
                       give one of the two, or make the term a preferred one";
            return Err(Hold::refuse(By::Mapper, format!("spec.affinity.{kind}.{REQUIRED}[{index}]"), why));
        }
        scoped.extend(split);
    }
    Ok(scoped)
}

fn scope_preferred(ctx: &Ctx<'_>, source: &VirtualObject, weighted: &Value) -> Vec<Value> {
    let Some(term) = weighted.get("podAffinityTerm") else { return vec![weighted.clone()] };
    let with = |term: Value| {
        let mut weighted = weighted.clone();
        if let Some(slot) = weighted.get_mut("podAffinityTerm") {
            *slot = term;
        }
        weighted
    };
    scope_term(ctx, source, term).into_iter().map(with).collect()
}

/// The host's term, or two.
fn scope_term(ctx: &Ctx<'_>, source: &VirtualObject, term: &Value) -> Vec<Value> {
    let scopes = scopes(source.namespace(), term);
    let mut term = term.clone();
    let Some(fields) = term.as_object_mut() else { return vec![term] };
    let taken = ["namespaces", "namespaceSelector"].map(|field| fields.remove(field));
    drop(taken);
    let (same, other) = (fields.remove("matchLabelKeys"), fields.remove("mismatchLabelKeys"));
    let Some(mut selector) = fields.remove("labelSelector").filter(Value::is_object) else {
        // No selector matches no pod, in whatever namespace.
        return vec![term];
    };
    merge_keys(&mut selector, "In", same.as_ref(), source);
    merge_keys(&mut selector, "NotIn", other.as_ref(), source);
    let with = |scope: &Scope| {
        let mut term = term.clone();
        if let Some(fields) = term.as_object_mut() {
            fields.insert("labelSelector".into(), scoped(ctx, &selector, scope));
        }
        term
    };
    scopes.iter().map(with).collect()
}

/// The namespaces that a term means, as one scope or two that share no namespace.
fn scopes(own: &str, term: &Value) -> Vec<Scope> {
    let mut names: Vec<String> =
        parts::items_in(term, "namespaces").filter_map(Value::as_str).map(str::to_owned).collect();
    let mut selector = term.get("namespaceSelector").filter(|selector| selector.is_object()).cloned();
    if let Some(selected) = selector.as_ref().and_then(selected_names) {
        names.extend(selected);
        selector = None;
    }
    names.sort();
    names.dedup();
    match selector {
        None if names.is_empty() => vec![Scope::Named(vec![own.to_owned()])],
        None => vec![Scope::Named(names)],
        Some(selector) if is_empty(&selector) => vec![Scope::All],
        Some(selector) if names.is_empty() => vec![Scope::Selected(selector, names)],
        Some(selector) => vec![Scope::Named(names.clone()), Scope::Selected(selector, names)],
    }
}

/// The names that a `namespaceSelector` lists, if it does nothing but list names.
fn selected_names(selector: &Value) -> Option<Vec<String>> {
    let labels = selector.get("matchLabels").and_then(Value::as_object).filter(|labels| !labels.is_empty());
    let expressions: Vec<&Value> = parts::items_in(selector, "matchExpressions").collect();
    match (labels, expressions.as_slice()) {
        (Some(labels), []) if labels.len() == 1 => {
            Some(vec![labels.get(NAMESPACE_NAME)?.as_str()?.to_owned()])
        }
        (None, [one])
            if parts::text(one, "key") == NAMESPACE_NAME && parts::text(one, "operator") == "In" =>
        {
            Some(parts::items_in(one, "values").filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => None,
    }
}

fn is_empty(selector: &Value) -> bool {
    let has = |name: &str| {
        selector.get(name).is_some_and(|value| match value {
            Value::Object(fields) => !fields.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => false,
        })
    };
    !has("matchLabels") && !has("matchExpressions")
}

/// Adds the pod's own values of `keys` to a selector, unless the virtual API server did so already. It
/// does since 1.31 for affinity and since 1.34 for spread, and forbids a key in both places before that.
fn merge_keys(selector: &mut Value, operator: &str, keys: Option<&Value>, source: &VirtualObject) {
    for key in keys.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let is_merged = parts::find(parts::items_in(selector, "matchExpressions"), "key", key).is_some()
            || selector.get("matchLabels").is_some_and(|labels| labels.get(key).is_some());
        if let Some(value) = source.label(key).filter(|_| !is_merged) {
            push_expression(selector, json!({"key": key, "operator": operator, "values": [value]}));
        }
    }
}

/// The host's selector for `selector`, which matches pods of `scope` only.
fn scoped(ctx: &Ctx<'_>, selector: &Value, scope: &Scope) -> Value {
    let mut selector = labels::selector_to_host(selector);
    if let Some(fields) = selector.as_object_mut() {
        // A null stands for nothing, but would stand in the way of what is added here.
        fields.retain(|_, requirements| !requirements.is_null());
    }
    labels::require(&mut selector, CLUSTER_LABEL, ctx.names.cluster());
    match scope {
        Scope::All => {}
        Scope::Named(names) => match names.as_slice() {
            [one] => labels::require(&mut selector, NAMESPACE_LABEL, one),
            many => labels::require_any(
                &mut selector,
                NAMESPACE_LABEL,
                &many.iter().map(String::as_str).collect::<Vec<_>>(),
            ),
        },
        Scope::Selected(namespaces, except) => {
            labels::require_namespace_labels(&mut selector, namespaces);
            if !except.is_empty() {
                push_expression(
                    &mut selector,
                    json!({"key": NAMESPACE_LABEL, "operator": "NotIn", "values": except}),
                );
            }
        }
    }
    selector
}

fn push_expression(selector: &mut Value, expression: Value) {
    let list =
        selector.as_object_mut().map(|fields| fields.entry("matchExpressions").or_insert_with(|| json!([])));
    if let Some(Value::Array(list)) = list {
        list.push(expression);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{World, virtual_object};
    use super::*;

    #[test]
    fn a_term_without_namespaces_means_its_own() {
        assert_eq!(scopes("shop", &json!({})), [Scope::Named(vec!["shop".into()])]);
        assert_eq!(
            scopes("shop", &json!({"namespaces": [], "namespaceSelector": null})),
            [Scope::Named(vec!["shop".into()])]
        );
    }

    #[test]
    fn an_empty_namespace_selector_means_the_whole_cluster() {
        assert_eq!(scopes("shop", &json!({"namespaces": ["a"], "namespaceSelector": {}})), [Scope::All]);
    }

    #[test]
    fn a_selector_of_names_is_a_list_of_names() {
        let term = json!({"namespaces": ["b"], "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "a"}}});
        assert_eq!(scopes("shop", &term), [Scope::Named(vec!["a".into(), "b".into()])]);
        let expression = json!({"key": NAMESPACE_NAME, "operator": "In", "values": ["c", "b"]});
        let term = json!({"namespaceSelector": {"matchExpressions": [expression]}});
        assert_eq!(scopes("shop", &term), [Scope::Named(vec!["b".into(), "c".into()])]);
    }

    #[test]
    fn names_and_a_selector_are_two_scopes_that_share_nothing() {
        let selector = json!({"matchLabels": {"team": "a"}});
        let term = json!({"namespaces": ["x"], "namespaceSelector": selector});
        assert_eq!(
            scopes("shop", &term),
            [Scope::Named(vec!["x".into()]), Scope::Selected(selector, vec!["x".into()])]
        );
    }

    #[test]
    fn label_keys_are_merged_once() {
        let pod = VirtualObject::from_json(json!({"metadata": {"labels": {"rev": "7"}}})).unwrap();
        let mut selector = json!({"matchLabels": {"app": "web"}});
        for _ in 0..2 {
            merge_keys(&mut selector, "In", Some(&json!(["rev", "missing"])), &pod);
        }
        assert_eq!(selector["matchExpressions"], json!([{"key": "rev", "operator": "In", "values": ["7"]}]));
    }

    #[test]
    fn every_selector_is_scoped_even_one_of_nulls() {
        let world = World::new();
        let selector = json!({"matchLabels": null, "matchExpressions": null});
        let many = Scope::Named(vec!["a".into(), "b".into()]);
        let expected = json!({
            "matchLabels": {CLUSTER_LABEL: "vc"},
            "matchExpressions": [{"key": NAMESPACE_LABEL, "operator": "In", "values": ["a", "b"]}],
        });
        assert_eq!(scoped(&world.ctx(), &selector, &many), expected);
    }

    #[test]
    fn a_wish_for_either_kind_of_namespace_is_two_wishes_of_one_weight() {
        let world = World::new();
        let source = virtual_object(json!({"metadata": {"name": "web", "namespace": "shop"}}));
        let term = json!({
            "topologyKey": "zone", "labelSelector": {}, "namespaces": ["a"],
            "namespaceSelector": {"matchLabels": {"team": "b"}},
        });
        let found = scope_preferred(&world.ctx(), &source, &json!({"weight": 3, "podAffinityTerm": term}));
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|wish| wish["weight"] == 3));
        assert!(scope_required(&world.ctx(), &source, "podAffinity", std::slice::from_ref(&term)).is_err());
        assert_eq!(scope_required(&world.ctx(), &source, "podAntiAffinity", &[term]).unwrap().len(), 2);
    }
}
