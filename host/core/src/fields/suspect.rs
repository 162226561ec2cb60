//! Whether a field that no table knows could name an object, or reach the node.
//!
//! All that is known of it is its name, and names in Kubernetes say what they hold (API conventions: "Naming conventions",
//! "References to related objects"). English puts what a thing is at the end: a `nodeTaintsPolicy` is a policy, a
//! `secretRef` a reference. So the last word decides, but for some words that are suspect wherever they stand.
//! Numbers and booleans name nothing; those that begin with `host` have been powers so far.

use serde_json::Value;

/// Last words, in the singular, of what names objects, or places on the node or in the network.
const NAMING: &str = "account address bundle class credential device driver endpoint from group handle host id identity issuer \
    map name node object owner path pod ref reference selector server service signer source target template uid uri url volume \
    workload";
/// Words that make a field suspect wherever they stand in its name.
const ANYWHERE: &[&str] = &["certificate", "claim", "config_map", "namespace", "secret", "token"];
/// Words that make a field suspect, of whatever type, at the beginning of its name.
const OF_THE_NODE: &[&str] = &["host", "privileged"];

/// Whether the field `name` with this value could name an object or reach the node, as far as its name says.
pub fn is_suspect(name: &str, value: &Value) -> bool {
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
            assert!(is_suspect(name, &json!("a")), "{name}");
            assert!(is_suspect(name, &json!(["a"])), "{name}");
            assert!(!is_suspect(name, &json!(7)), "{name} of a number names nothing");
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
            assert!(!is_suspect(name, &json!("a")), "{name}");
        }
    }

    #[test]
    fn what_could_be_a_power_over_the_node_is_suspect_whatever_its_type() {
        assert!(is_suspect("hostClocks", &json!(true)) && is_suspect("privilegedPorts", &json!(1)));
        assert!(!is_suspect("hostnameAsFQDN", &json!(true)) && !is_suspect("hostnameAsFQDN", &json!(false)));
    }
}
