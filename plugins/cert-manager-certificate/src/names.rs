//! Which names a Certificate may have: those that the operator lists, and no names of other sorts.

use serde::Deserialize;
use weft_plugin::{Object, Problem, Result, Value, problem, reject};

/// Every name of every sort, in place of one.
const ANY: &str = "*";
/// Lists of DNS names, and the one that a subject has.
const DNS: &[&str] = &["/spec/dnsNames/*", "/spec/commonName"];
/// Names that no list of DNS names covers, and subjects that may hold them: the fields of a Certificate.
const OTHERS: &[&str] = &[
    "/spec/ipAddresses",
    "/spec/uris",
    "/spec/emailAddresses",
    "/spec/otherNames",
    "/spec/literalSubject",
    "/spec/nameConstraints",
];

/// What the operator allows of the content.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Names {
    /// DNS names that tenants may have, `shop.example.com` or `*.example.com`, or `*` for every name; none if empty.
    #[serde(default)]
    dns_names: Vec<String>,
    /// Whether tenants may have certificates that sign others.
    #[serde(default)]
    allow_ca: bool,
}

impl Names {
    /// Problems of the settings.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let wrong = self.dns_names.iter().enumerate().filter(|(_, name)| name.is_empty());
        wrong
            .map(|(index, _)| problem("InvalidName", "it is empty").at(format!("/dnsNames/{index}")))
            .collect()
    }

    /// Passes if the Certificate has names that the operator lists.
    pub(crate) fn apply(&self, draft: &Object) -> Result {
        let signs =
            draft.get("/spec/isCA").is_some_and(|value| *value != Value::Bool(false) && !value.is_null());
        if signs && !self.allow_ca {
            let message =
                "a certificate that signs others is not offered here: the plugin's `allowCa`; remove it";
            return Err(reject("CaNotAllowed", message).at("/spec/isCA"));
        }
        if self.dns_names.iter().any(|pattern| pattern == ANY) {
            return Ok(());
        }
        for pointer in OTHERS {
            if draft.get(pointer).is_some_and(|value| !is_empty(value)) {
                let message = "only DNS names that the operator lists in the plugin's `dnsNames` are offered here; remove it";
                return Err(reject("NameNotAllowed", message).at(*pointer));
            }
        }
        for (pointer, name) in DNS.iter().flat_map(|path| draft.find(path)) {
            if !is_empty(name) && !name.as_str().is_some_and(|name| self.has(name)) {
                let message =
                    format!("the operator does not list {name} in the plugin's `dnsNames`; name another one");
                return Err(reject("NameNotAllowed", message).at(pointer));
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.dns_names.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => *pattern == name,
        })
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_str().is_some_and(str::is_empty)
}

#[cfg(test)]
mod tests {
    use weft_plugin::json;

    use super::*;

    /// The field that a Certificate with this spec is refused for.
    fn refused(settings: &Value, spec: &Value) -> Option<String> {
        let names = Names::deserialize(settings).unwrap();
        names
            .apply(&Object::from(json!({"spec": spec})))
            .err()
            .and_then(|verdict| verdict.problem().field.clone())
    }

    #[test]
    fn names_are_those_that_the_operator_lists() {
        let listed = json!({"dnsNames": ["*.example.com", "shop.example.org"]});
        let good = json!({"commonName": "Shop.example.org", "dnsNames": ["a.example.com", "*.example.com"], "uris": []});
        assert_eq!(refused(&listed, &good), None);
        assert_eq!(refused(&json!({}), &good).as_deref(), Some("/spec/dnsNames/0"));
        for (spec, field) in [
            (json!({"dnsNames": ["a.example.com", "example.com"]}), "/spec/dnsNames/1"),
            (json!({"dnsNames": [["a.example.com"]]}), "/spec/dnsNames/0"),
            (json!({"commonName": "bank.org"}), "/spec/commonName"),
            (json!({"ipAddresses": ["10.0.0.1"]}), "/spec/ipAddresses"),
            (json!({"uris": ["spiffe://host/ns/a"]}), "/spec/uris"),
            (json!({"literalSubject": "CN=bank.org"}), "/spec/literalSubject"),
        ] {
            assert_eq!(refused(&listed, &spec).as_deref(), Some(field), "{spec}");
            assert_eq!(refused(&json!({"dnsNames": ["*"]}), &spec), None, "{spec}");
        }
    }

    #[test]
    fn a_certificate_signs_others_only_with_the_operators_word() {
        for sign in [json!(true), json!("true")] {
            let spec = json!({"isCA": sign});
            assert_eq!(refused(&json!({"dnsNames": ["*"]}), &spec).as_deref(), Some("/spec/isCA"));
            assert_eq!(refused(&json!({"allowCa": true}), &spec), None);
        }
        assert_eq!(refused(&json!({}), &json!({"isCA": false})), None);
    }
}
