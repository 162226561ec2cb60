//! Labels, annotations and selectors: how a tenant's keys are kept apart from ours.
//!
//! A tenant's keys stay as they are, so that people can read host objects, unless controllers of the host would obey them
//! ([`crate::host_keys`]). Keys of our own domain are escaped, which also lets one virtual cluster run inside another: `weft.dev/cluster` of the
//! inner one becomes `weft.dev.tenant.weft.dev/cluster` in the outer one.

use serde_json::{Value, json};

use crate::digest;
use crate::keys::{CLUSTER_LABEL, DOMAIN, NAMESPACE_LABEL, NAMESPACE_LABELS_DOMAIN, TENANT_SUFFIX};
use crate::names::Names;
use crate::object::Fields;
use crate::text::truncate;

/// Longest value of a label.
const MAX_VALUE: usize = 63;
/// Digits that keep two values apart that were cut.
const HASH_DIGITS: usize = 10;
/// Longest prefix of a label key (RFC 1123 subdomain).
const MAX_PREFIX: usize = 253;

/// Whether a label or annotation key is in our domain.
pub fn is_reserved(key: &str) -> bool {
    prefix_of(key).is_some_and(|prefix| {
        prefix.strip_suffix(DOMAIN).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Whether a reserved key is a tenant's own, made by [`escaped`].
pub fn is_escaped(key: &str) -> bool {
    prefix_of(key).is_some_and(|prefix| prefix.ends_with(TENANT_SUFFIX) || prefix == tenant_domain())
}

/// The key under which a tenant's key stands on the host that must not stand there as it is.
pub fn escaped(key: &str) -> String {
    match key.split_once('/') {
        Some((prefix, name)) => format!("{}/{name}", extend(prefix, TENANT_SUFFIX)),
        None => format!("{}/{key}", tenant_domain()),
    }
}

/// The name of an object as the value of a label: names may be four times as long as values. A longer one is cut, and keeps
/// apart from others by a hash.
pub fn value(name: &str) -> String {
    if name.len() <= MAX_VALUE {
        return name.to_owned();
    }
    let hash = digest::of_bytes(name.as_bytes());
    let hash = truncate(&hash, HASH_DIGITS);
    let kept = truncate(name, MAX_VALUE - HASH_DIGITS - 1).trim_end_matches(['.', '-']);
    format!("{kept}-{hash}")
}

/// The host's key for a tenant's label or annotation key, as far as our own domain is concerned.
pub fn key_to_host(key: &str) -> String {
    if is_reserved(key) { escaped(key) } else { key.to_owned() }
}

/// Whether a key is one that [`namespace_label_key`] makes.
pub fn is_namespace_label(key: &str) -> bool {
    prefix_of(key).is_some_and(|prefix| {
        prefix
            .strip_suffix(NAMESPACE_LABELS_DOMAIN)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// The host label that carries the label `key` of a pod's virtual Namespace.
pub fn namespace_label_key(key: &str) -> String {
    match key.split_once('/') {
        Some((prefix, name)) => format!("{}/{name}", extend(prefix, &format!(".{NAMESPACE_LABELS_DOMAIN}"))),
        None => format!("{NAMESPACE_LABELS_DOMAIN}/{key}"),
    }
}

/// A map of labels or annotations with the host's keys. Values are untouched.
pub fn map_to_host(map: &Fields) -> Fields {
    map.iter().map(|(key, value)| (key_to_host(key), value.clone())).collect()
}

/// The labels that say whose object this is. Every selector that the host evaluates names them.
pub fn scope(names: &Names, namespace: &str) -> Fields {
    let mut scope = Fields::new();
    scope.insert(CLUSTER_LABEL.into(), names.cluster().into());
    if !namespace.is_empty() {
        scope.insert(NAMESPACE_LABEL.into(), namespace.into());
    }
    scope
}

/// Whether a selector of pods, labels by key, may match a tenant's pod: it names no label of our domain but those that all
/// tenants' pods have. One that is empty selects no pods.
pub fn may_select_tenants(selector: &Fields) -> bool {
    let is_tenants = |key: &String| {
        !is_reserved(key)
            || is_escaped(key)
            || is_namespace_label(key)
            || matches!(key.as_str(), CLUSTER_LABEL | NAMESPACE_LABEL)
    };
    !selector.is_empty() && selector.keys().all(is_tenants)
}

/// Labels as people write them: `app=web,tier=front`.
pub fn as_text(labels: &Fields) -> String {
    let pairs = labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(",")
}

/// A `LabelSelector` with the host's keys, still without scope.
pub fn selector_to_host(selector: &Value) -> Value {
    let mut result = selector.clone();
    if let Some(Value::Object(labels)) = result.get_mut("matchLabels") {
        *labels = map_to_host(labels);
    }
    for expression in expressions_mut(&mut result) {
        if let Some(Value::String(key)) = expression.get_mut("key") {
            *key = key_to_host(key);
        }
    }
    result
}

/// Adds `key = value` to a `LabelSelector`.
pub fn require(selector: &mut Value, key: &str, value: &str) {
    if let Some(labels) = labels_mut(selector) {
        labels.insert(key.into(), value.into());
    }
}

/// Adds `key in values` to a `LabelSelector`.
pub fn require_any(selector: &mut Value, key: &str, values: &[&str]) {
    push_expression(selector, json!({"key": key, "operator": "In", "values": values}));
}

/// Adds the requirements of a `namespaceSelector` to a selector of pods: pods carry the labels of
/// their virtual Namespace under [`namespace_label_key`].
pub fn require_namespace_labels(selector: &mut Value, namespace_selector: &Value) {
    for (key, value) in namespace_selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten()
    {
        require(selector, &namespace_label_key(key), value.as_str().unwrap_or_default());
    }
    for expression in
        namespace_selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten()
    {
        let mut expression = expression.clone();
        if let Some(Value::String(key)) = expression.get_mut("key") {
            *key = namespace_label_key(key);
        }
        push_expression(selector, expression);
    }
}

fn labels_mut(selector: &mut Value) -> Option<&mut Fields> {
    member_mut(selector, "matchLabels", || json!({}))?.as_object_mut()
}

/// A member of a selector, made where it is missing: `null` is as good as missing to the API.
fn member_mut<'a>(
    selector: &'a mut Value,
    name: &str,
    empty: impl FnOnce() -> Value,
) -> Option<&'a mut Value> {
    let member = selector.as_object_mut()?.entry(name).or_insert(Value::Null);
    if member.is_null() {
        *member = empty();
    }
    Some(member)
}

fn push_expression(selector: &mut Value, expression: Value) {
    if let Some(Value::Array(list)) = member_mut(selector, "matchExpressions", || json!([])) {
        list.push(expression);
    }
}

fn expressions_mut(selector: &mut Value) -> impl Iterator<Item = &mut Value> {
    selector.get_mut("matchExpressions").and_then(Value::as_array_mut).into_iter().flatten()
}

/// The prefix of escaped keys that had none.
fn tenant_domain() -> &'static str {
    TENANT_SUFFIX.trim_start_matches('.')
}

fn prefix_of(key: &str) -> Option<&str> {
    key.split_once('/').map(|(prefix, _)| prefix)
}

/// `prefix` + `suffix`, with a hash in place of a prefix for which there is no room.
fn extend(prefix: &str, suffix: &str) -> String {
    if prefix.len() + suffix.len() <= MAX_PREFIX {
        return format!("{prefix}{suffix}");
    }
    format!("{}{suffix}", digest::short(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_domain_is_reserved_and_others_are_not() {
        assert!(
            is_reserved("weft.dev/cluster") && is_reserved("ns.weft.dev/a") && !is_reserved("notweft.dev/a")
        );
        assert!(!is_reserved("app") && !is_reserved("weft.dev"));
    }

    #[test]
    fn a_tenants_key_of_our_domain_is_escaped_at_every_level() {
        let once = key_to_host("weft.dev/cluster");
        assert_eq!(once, "weft.dev.tenant.weft.dev/cluster");
        assert!(is_escaped(&once));
        assert_eq!(key_to_host(&once), "weft.dev.tenant.weft.dev.tenant.weft.dev/cluster");
        assert_eq!(key_to_host("app.kubernetes.io/name"), "app.kubernetes.io/name");
    }

    #[test]
    fn a_key_without_a_domain_gets_one_that_no_other_key_becomes() {
        let escaped_key = escaped("app");
        assert_eq!(escaped_key, "tenant.weft.dev/app");
        assert!(is_reserved(&escaped_key) && is_escaped(&escaped_key));
        assert_eq!(key_to_host(&escaped_key), "tenant.weft.dev.tenant.weft.dev/app");
    }

    #[test]
    fn a_selector_keeps_tenants_out_by_a_label_that_they_cannot_have() {
        let may = |selector: Value| may_select_tenants(selector.as_object().unwrap());
        for open in [
            json!({"app": "weft"}),
            json!({"app.kubernetes.io/name": "weft", "weft.dev/cluster": "vc", "weft.dev/namespace": "shop"}),
            json!({"ns.weft.dev/team": "a", "istio.io.tenant.weft.dev/rev": "b"}),
        ] {
            assert!(may(open.clone()), "{open}");
        }
        assert!(!may(json!({})) && !may(json!({"app": "weft", "weft.dev/control-plane": "vc"})));
    }

    #[test]
    fn a_selector_whose_labels_are_null_is_limited_all_the_same() {
        let mut selector = json!({"matchLabels": null, "matchExpressions": null});
        require(&mut selector, "a", "b");
        require_any(&mut selector, "c", &["d"]);
        assert_eq!(selector.pointer("/matchLabels/a"), Some(&json!("b")));
        assert_eq!(selector.pointer("/matchExpressions/0/key"), Some(&json!("c")));
    }

    #[test]
    fn namespace_labels_have_a_domain_of_their_own() {
        assert_eq!(namespace_label_key("team"), "ns.weft.dev/team");
        assert_eq!(
            namespace_label_key("kubernetes.io/metadata.name"),
            "kubernetes.io.ns.weft.dev/metadata.name"
        );
        let long = format!("{}/a", "p".repeat(253));
        assert!(namespace_label_key(&long).len() < 253, "{}", namespace_label_key(&long));
    }

    #[test]
    fn a_namespace_selector_becomes_requirements_on_pods() {
        let mut selector = json!({"matchLabels": {"app": "web"}});
        require_namespace_labels(
            &mut selector,
            &json!({"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "env", "operator": "Exists"}]}),
        );
        assert_eq!(
            selector,
            json!({
                "matchLabels": {"app": "web", "ns.weft.dev/team": "a"},
                "matchExpressions": [{"key": "ns.weft.dev/env", "operator": "Exists"}],
            })
        );
    }

    #[test]
    fn a_name_that_is_too_long_for_a_label_is_cut_and_stays_apart_from_others() {
        assert_eq!(value("node-1.example.com"), "node-1.example.com");
        assert_eq!(value(&"n".repeat(63)), "n".repeat(63));
        let long = |end: &str| value(&format!("ip-10-0-0-1.{}.{end}", "compute.internal".repeat(4)));
        let cut = long("example.com");
        assert!(cut.len() <= 63 && cut.starts_with("ip-10-0-0-1.compute.internal"), "{cut}");
        assert_ne!(cut, long("example.org"));
        let at_a_dot = value(&format!("{}.{}", "n".repeat(51), "m".repeat(30)));
        assert!(at_a_dot.starts_with(&format!("{}-", "n".repeat(51))) && at_a_dot.len() == 62, "{at_a_dot}");
    }
}
