//! Whether a field that no table knows may be copied: not if it could name an object, or reach the node.
//!
//! All that is known of it is its name, and names in Kubernetes say what they hold (API conventions: "Naming conventions",
//! "References to related objects"). English puts what a thing is at the end: a `nodeTaintsPolicy` is a policy, a
//! `secretRef` a reference. So the last word decides, but for some words that are suspect wherever they stand.
//! Numbers and booleans name nothing; those that begin with `host` have been powers so far.

use serde_json::Value;

use super::fields::{Place, is_unset};
use super::refuse;
use crate::verdict::Verdict;

/// Last words, in the singular, of what names objects, or places on the node or in the network.
const NAMING: &str = "account address bundle class credential device driver endpoint from group handle host id identity issuer \
    map name node object owner path pod ref reference selector server service signer source target template uid uri url volume \
    workload";
/// Words that refuse a field wherever they stand in its name.
const ANYWHERE: &[&str] = &["certificate", "claim", "config_map", "namespace", "secret", "token"];
/// Words that refuse a field of any type at the beginning of its name.
const OF_THE_NODE: &[&str] = &["host", "privileged"];

/// Passes the field `name`, which no table knows, if it and what is inside it can be copied.
pub(super) fn judge(name: &str, value: &Value, at: &Place<'_>) -> Verdict<()> {
    if is_unset(value) {
        return Ok(());
    }
    if is_suspect(name, value) {
        let why = "it is not known here, and by its name it could reach what is not the tenant's; remove it, or upgrade \
                   to a version that knows it";
        return Err(refuse(&at.pointer(), why.to_owned()));
    }
    judge_inside(value, at)
}

/// Passes what is inside a value of which nothing is known.
pub(super) fn judge_inside(value: &Value, at: &Place<'_>) -> Verdict<()> {
    match value {
        Value::Object(entries) => {
            entries.iter().try_for_each(|(name, entry)| judge(name, entry, &Place::Field(at, name)))
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| judge_inside(item, &Place::Item(at, index)))
        }
        _ => Ok(()),
    }
}

fn is_suspect(name: &str, value: &Value) -> bool {
    let words = words(name);
    let of_the_node = words.first().is_some_and(|first| OF_THE_NODE.contains(&first.as_str()));
    let can_name = !matches!(value, Value::Bool(_) | Value::Number(_));
    let last = words.last().map(String::as_str).unwrap_or_default();
    let joined = words.join("_");
    let has = |word: &&str| format!("_{joined}_").contains(&format!("_{word}_"));
    of_the_node || (can_name && (NAMING.split(' ').any(|naming| naming == last) || ANYWHERE.iter().any(has)))
}

/// The words of a name in camel case or with separators, in lower case and in the singular.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    // Of an abbreviation: `podIDs`.
    let name = name.strip_suffix('s').filter(|name| name.ends_with(char::is_uppercase)).unwrap_or(name);
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let begins =
            letter.is_uppercase() && (was_lower || letters.peek().is_some_and(|next| next.is_lowercase()));
        was_lower = letter.is_lowercase() || letter.is_numeric();
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.iter().filter(|word| !word.is_empty()).map(|word| singular(word)).collect()
}

fn singular(word: &str) -> String {
    let stem = match word {
        "identities" => "identity",
        _ if word.ends_with("sses") => word.strip_suffix("es").unwrap_or(word),
        _ if word.ends_with("ss") => word,
        _ => word.strip_suffix('s').unwrap_or(word),
    };
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn is_copied(name: &str, value: &Value) -> bool {
        judge(name, value, &Place::Field(&Place::Root, name)).is_ok()
    }

    #[test]
    fn a_name_says_whether_it_could_name_something() {
        for name in [
            "futureSecretRef",
            "secretKey",
            "configMapVersion",
            "targetNodes",
            "podIDs",
            "volumeHandle",
            "storageClasses",
            "caBundle",
            "from",
            "tokenAudience",
            "URLPath",
            "peer_name",
            "namespaces",
            "addresses",
            "workloadIdentities",
        ] {
            assert!(!is_copied(name, &json!("a")), "{name}");
            assert!(!is_copied(name, &json!(["a"])), "{name}");
            assert!(is_copied(name, &json!(7)), "{name} of a number names nothing");
        }
        for name in [
            "stopSignal",
            "nodeTaintsPolicy",
            "restartPolicy",
            "pathType",
            "hostnameStyle",
            "mappings",
            "essence",
        ] {
            assert!(is_copied(name, &json!("a")), "{name}");
        }
    }

    #[test]
    fn what_could_be_a_power_over_the_node_is_refused_whatever_its_type() {
        assert!(!is_copied("hostClocks", &json!(true)) && !is_copied("privilegedPorts", &json!(1)));
        assert!(is_copied("hostnameAsFQDN", &json!(true)) && is_copied("hostClocks", &json!(null)));
    }

    #[test]
    fn an_object_is_copied_if_all_inside_it_can_be() {
        assert!(is_copied("futurePolicy", &json!({"mode": "Strict", "steps": [{"after": 3}, ["a"]]})));
        let hold = judge(
            "policy",
            &json!({"steps": [{"a": 1}, {"secretRef": "a"}]}),
            &Place::Field(&Place::Root, "policy"),
        );
        let field = hold.unwrap_err().problem().field.clone();
        assert_eq!(field.as_deref(), Some("policy.steps[1].secretRef"));
    }
}
