//! Writes permissions as objects for `kubectl apply`, with a reason beside each rule.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::config::Config;
use crate::permissions::{Permissions, Rule};

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";

/// The objects as YAML documents, with the reason of each rule as a comment.
///
/// # Errors
/// None: what is written has only strings. The serializer's signature has one.
pub fn yaml(config: &Config, permissions: &Permissions) -> Result<String, serde_saphyr::ser::Error> {
    let mut documents = Vec::new();
    for Document { object, rules } in documents_of(config, permissions) {
        let mut text = serde_saphyr::to_string(&object)?;
        if let Some(rules) = rules {
            text.push_str("rules:\n");
            for rule in rules {
                let _ = write!(text, "# {}\n{}", rule.reason, serde_saphyr::to_string(&[rule])?);
            }
        }
        documents.push(text);
    }
    Ok(documents.join("---\n"))
}

/// The same objects as one `List`.
pub fn json(config: &Config, permissions: &Permissions) -> Value {
    let items = documents_of(config, permissions).into_iter().map(|Document { mut object, rules }| {
        if let (Some(fields), Some(rules)) = (object.as_object_mut(), rules) {
            fields.insert("rules".to_owned(), json!(rules));
        }
        object
    });
    json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>()})
}

/// One object; its rules apart, so that they can be written with their reasons.
struct Document<'a> {
    object: Value,
    rules: Option<&'a [Rule]>,
}

fn documents_of<'a>(config: &Config, permissions: &'a Permissions) -> Vec<Document<'a>> {
    let (namespace, syncer) = (&config.cluster.namespace, format!("weft-syncer-{}", config.cluster.name));
    let plain = |object| Document { object, rules: None };
    let account = |name: &str| {
        let metadata = json!({"name": name, "namespace": namespace});
        plain(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}))
    };
    let subjects = json!([{"kind": "ServiceAccount", "name": syncer, "namespace": namespace}]);
    let pair = |kind: &str, metadata: Value, rules| {
        let role = json!({"apiVersion": VERSION, "kind": kind, "metadata": metadata});
        let to = json!({"apiGroup": GROUP, "kind": kind, "name": metadata.get("name")});
        let kind = format!("{kind}Binding");
        let binding = json!({
            "apiVersion": VERSION, "kind": kind, "metadata": metadata, "roleRef": to, "subjects": subjects,
        });
        [Document { object: role, rules: Some(rules) }, plain(binding)]
    };
    let mut documents = vec![account(&syncer), account(&config.workload_service_account())];
    let metadata = json!({"name": syncer, "namespace": namespace});
    documents.extend(pair("Role", metadata, &permissions.namespaced[..]));
    if !permissions.cluster.is_empty() {
        // Cluster-scoped names are shared by all namespaces.
        let metadata = json!({"name": format!("weft-syncer:{namespace}:{}", config.cluster.name)});
        documents.extend(pair("ClusterRole", metadata, &permissions.cluster[..]));
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(rest: &Value) -> (String, Vec<Value>) {
        let mut config = json!({"cluster": {"name": "my-vcluster", "namespace": "team-a"}});
        config.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let config: Config = serde_json::from_value(config).unwrap();
        let permissions = crate::permissions::of(&config, &[]);
        let text = yaml(&config, &permissions).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(json(&config, &permissions)["items"], json!(objects), "YAML and JSON are the same");
        (text, objects)
    }

    #[test]
    fn a_syncer_gets_two_accounts_and_one_role_in_its_namespace() {
        let (text, objects) = rendered(&json!({}));
        let kinds: Vec<&Value> = objects.iter().map(|object| &object["kind"]).collect();
        assert_eq!(kinds, ["ServiceAccount", "ServiceAccount", "Role", "RoleBinding"]);
        for object in &objects {
            assert_eq!(object["metadata"]["namespace"], "team-a", "{object}");
        }
        let names: Vec<&Value> = objects.iter().map(|object| &object["metadata"]["name"]).collect();
        let syncer = "weft-syncer-my-vcluster";
        assert_eq!(names, [syncer, "weft-workload-my-vcluster", syncer, syncer]);
        assert_eq!(objects[3]["roleRef"]["name"], syncer);
        assert!(
            text.contains("\n# events of the host for the tenant, and events for the operator\n"),
            "{text}"
        );
        assert!(!text.contains('*'), "{text}");
    }

    #[test]
    fn what_concerns_the_whole_host_is_a_cluster_role_of_its_own() {
        let mapping = json!({"apiVersion": "example.com/v1", "kind": "Cat", "plural": "cats", "installDefinition": true});
        let (_, objects) = rendered(&json!({"mappings": [mapping]}));
        let (role, binding) = (&objects[4], &objects[5]);
        assert_eq!((&role["kind"], &binding["kind"]), (&json!("ClusterRole"), &json!("ClusterRoleBinding")));
        assert_eq!(role["metadata"], json!({"name": "weft-syncer:team-a:my-vcluster"}));
        assert_eq!(role["rules"][0]["resourceNames"], json!(["cats.example.com"]));
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    }
}
