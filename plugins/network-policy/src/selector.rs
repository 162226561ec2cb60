//! Translates label selectors: escapes tenants' keys of weft's domain, and turns namespaces into labels.
//!
//! The keys must match the labels that weft sets on pods.

use weft_plugin::{Map, Result, Value, json, reject};

use crate::{NAMESPACE_LABEL, only_known, unreadable};

/// The host label with the virtual cluster of an object.
const CLUSTER_LABEL: &str = "weft.dev/cluster";
/// weft's own domain.
const DOMAIN: &str = "weft.dev";
/// Appended to the prefix of a tenant's key of that domain.
const TENANT_SUFFIX: &str = ".tenant.weft.dev";
/// Prefix, or end of the prefix, of labels that pods carry for their Namespace.
const NAMESPACE_LABELS_DOMAIN: &str = "ns.weft.dev";
/// Longest prefix of a label's key.
const MAX_PREFIX: usize = 253;

const MATCH_LABELS: &str = "matchLabels";
const MATCH_EXPRESSIONS: &str = "matchExpressions";
/// The fields of a selector.
pub(crate) const FIELDS: [&str; 2] = [MATCH_LABELS, MATCH_EXPRESSIONS];

/// The pods that a selector is limited to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) cluster: &'a str,
    /// Virtual namespace.
    pub(crate) namespace: &'a str,
}

impl Scope<'_> {
    /// Limits the selector to pods of this virtual cluster.
    pub(crate) fn limit_to_cluster(self, selector: &mut Value) {
        require(selector, CLUSTER_LABEL, self.cluster.into());
    }

    /// Limits the selector to pods of this virtual namespace.
    pub(crate) fn limit_to_namespace(self, selector: &mut Value) {
        self.limit_to_cluster(selector);
        require(selector, NAMESPACE_LABEL, self.namespace.into());
    }
}

/// A tenant's selector of pods with the host's keys, still without limits.
pub(crate) fn to_host(selector: Value, at: &str) -> Result<Value> {
    let selector = read(selector, at)?;
    rewrite(selector, at, |key| match key.split_once('/') {
        Some((prefix, name)) if is_reserved(prefix) => extend(prefix, TENANT_SUFFIX, name),
        _ => Some(key.to_owned()),
    })
}

/// Adds the requirements of a selector of namespaces to a selector of pods.
pub(crate) fn require_namespaces(selector: &mut Value, namespaces: Value, at: &str) -> Result {
    let namespaces = rewrite(read(namespaces, at)?, at, |key| match key.split_once('/') {
        Some((prefix, name)) => extend(prefix, &format!(".{NAMESPACE_LABELS_DOMAIN}"), name),
        None => Some(format!("{NAMESPACE_LABELS_DOMAIN}/{key}")),
    })?;
    for (key, value) in namespaces.get(MATCH_LABELS).and_then(Value::as_object).into_iter().flatten() {
        require(selector, key, value.clone());
    }
    let expressions = namespaces.get(MATCH_EXPRESSIONS).and_then(Value::as_array).cloned();
    if let Some(expressions) = expressions.filter(|expressions| !expressions.is_empty()) {
        push_expressions(selector, expressions);
    }
    Ok(())
}

/// The fields of a selector; a missing one counts as empty.
fn read(selector: Value, at: &str) -> Result<Map<String, Value>> {
    let mut fields = match selector {
        Value::Null => Map::new(),
        Value::Object(fields) => fields,
        _ => return Err(unreadable(at)),
    };
    // A null counts as missing, but would prevent adding requirements later.
    fields.retain(|_, requirements| !requirements.is_null());
    only_known(&fields, &FIELDS, at)?;
    Ok(fields)
}

/// The selector with `rename` applied to every key; `None` means that a key would be too long.
fn rewrite(
    mut selector: Map<String, Value>,
    at: &str,
    rename: impl Fn(&str) -> Option<String>,
) -> Result<Value> {
    let rename = |key: &str| {
        let message = format!("the prefix of {key:?} is too long for the host; use a shorter one");
        rename(key).ok_or_else(|| reject("KeyTooLong", message).at(at))
    };
    if let Some(labels) = selector.get_mut(MATCH_LABELS) {
        let Value::Object(old) = labels.take() else {
            return Err(unreadable(&format!("{at}/{MATCH_LABELS}")));
        };
        let renamed: Result<Map<String, Value>> =
            old.into_iter().map(|(key, value)| Ok((rename(&key)?, value))).collect();
        *labels = Value::Object(renamed?);
    }
    if let Some(expressions) = selector.get_mut(MATCH_EXPRESSIONS) {
        let Value::Array(expressions) = expressions else {
            return Err(unreadable(&format!("{at}/{MATCH_EXPRESSIONS}")));
        };
        for expression in expressions {
            let Some(Value::String(key)) = expression.get_mut("key") else {
                return Err(unreadable(&format!("{at}/{MATCH_EXPRESSIONS}")));
            };
            *key = rename(key)?;
        }
    }
    Ok(Value::Object(selector))
}

/// Adds `key = value`, whatever requirements the selector has for the key.
fn require(selector: &mut Value, key: &str, value: Value) {
    let labels = field(selector, MATCH_LABELS, json!({}));
    if let Value::Object(labels) = labels {
        labels.insert(key.to_owned(), value);
    }
}

fn push_expressions(selector: &mut Value, more: Vec<Value>) {
    if let Value::Array(expressions) = field(selector, MATCH_EXPRESSIONS, json!([])) {
        expressions.extend(more);
    }
}

/// A field of a selector; set to `empty` if it is missing or has another type.
fn field<'a>(selector: &'a mut Value, name: &str, empty: Value) -> &'a mut Value {
    if !selector.is_object() {
        *selector = json!({});
    }
    let found = &mut selector[name];
    if found.is_object() != empty.is_object() || found.is_array() != empty.is_array() {
        *found = empty;
    }
    found
}

fn is_reserved(prefix: &str) -> bool {
    prefix.strip_suffix(DOMAIN).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The key with a longer prefix. weft replaces a prefix that gets too long by a hash; selectors of such keys are refused
/// here, because they are not used in practice.
fn extend(prefix: &str, suffix: &str, name: &str) -> Option<String> {
    (prefix.len() + suffix.len() <= MAX_PREFIX).then(|| format!("{prefix}{suffix}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_wefts_domain_are_escaped() {
        let selector = json!({
            "matchLabels": {"app": "a", "app.kubernetes.io/name": "b", "notweft.dev/x": "c", "ns.weft.dev/x": "d"},
            "matchExpressions": [{"key": "weft.dev/namespace", "operator": "Exists"}],
        });
        assert_eq!(
            to_host(selector, "").unwrap(),
            json!({
                "matchLabels": {"app": "a", "app.kubernetes.io/name": "b", "notweft.dev/x": "c", "ns.weft.dev.tenant.weft.dev/x": "d"},
                "matchExpressions": [{"key": "weft.dev.tenant.weft.dev/namespace", "operator": "Exists"}],
            })
        );
    }

    #[test]
    fn an_invalid_selector_is_limited_all_the_same() {
        let scope = Scope { cluster: "vc", namespace: "n" };
        for odd in
            [json!(null), json!([]), json!("x"), json!({"matchLabels": []}), json!({"matchLabels": null})]
        {
            let mut selector = odd.clone();
            scope.limit_to_namespace(&mut selector);
            let expected = json!({"matchLabels": {CLUSTER_LABEL: "vc", NAMESPACE_LABEL: "n"}});
            assert_eq!(selector, expected, "{odd}");
        }
    }

    #[test]
    fn a_key_that_would_be_too_long_is_refused() {
        let key = format!("{}/a", "p".repeat(250));
        let refused =
            require_namespaces(&mut json!({}), json!({"matchLabels": {key: "a"}}), "/x").unwrap_err();
        assert_eq!(refused.problem().reason, "KeyTooLong");
    }
}
