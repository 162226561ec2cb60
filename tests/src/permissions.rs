//! What a syncer may do on the host: the rules in `examples/rbac`, which operators apply.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// What every syncer needs, and what plugins add to it.
const FILES: [&str; 2] =
    [include_str!("../../examples/rbac/syncer.yaml"), include_str!("../../examples/rbac/plugins.yaml")];

/// A Role with the rules of the Roles in both files, and one for the custom resources of the tests.
pub(crate) fn role(name: &str) -> Result<Value> {
    let objects = objects()?;
    let mut rules = Vec::new();
    for object in objects.iter().filter(|object| text(object, "/kind") == "Role") {
        rules.extend(object.pointer("/rules").and_then(Value::as_array).context("a Role has rules")?.clone());
    }
    let all = ["get", "list", "watch", "create", "update", "patch", "delete"];
    rules.push(json!({"apiGroups": ["example.com"], "verbs": all, "resources": ["*"]}));
    Ok(json!({"metadata": {"name": name}, "rules": rules}))
}

fn objects() -> Result<Vec<Value>> {
    let files = FILES.iter().map(|file| serde_saphyr::from_multiple::<Value>(file));
    let objects: Vec<Vec<Value>> = files.collect::<Result<_, _>>().context("examples/rbac is not YAML")?;
    Ok(objects.concat())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use weft::config::Config;

    use super::*;

    const SYNCER: &str = "weft-syncer-my-vcluster";

    fn of_kind(kind: &str) -> Vec<Value> {
        objects().unwrap().into_iter().filter(|object| text(object, "/kind") == kind).collect()
    }

    #[test]
    fn everything_lies_in_the_one_namespace() {
        for object in objects().unwrap() {
            let kind = text(&object, "/kind");
            assert!(["ServiceAccount", "Role", "RoleBinding"].contains(&kind), "{kind} is not namespaced");
            assert_eq!(text(&object, "/metadata/namespace"), "team-a", "{object}");
        }
    }

    #[test]
    fn the_accounts_are_those_that_the_syncer_expects() {
        let config: Config =
            serde_json::from_value(json!({"cluster": {"name": "my-vcluster", "namespace": "team-a"}}))
                .unwrap();
        let names: Vec<String> = of_kind("ServiceAccount")
            .iter()
            .map(|account| text(account, "/metadata/name").to_owned())
            .collect();
        assert_eq!(names, [SYNCER.to_owned(), config.workload_service_account()]);
    }

    #[test]
    fn each_role_is_bound_to_the_syncer_and_to_nobody_else() {
        let (roles, bindings) = (of_kind("Role"), of_kind("RoleBinding"));
        assert_eq!((roles.len(), bindings.len()), (FILES.len(), FILES.len()));
        let syncer = json!([{"kind": "ServiceAccount", "name": SYNCER, "namespace": "team-a"}]);
        for (role, binding) in roles.iter().zip(&bindings) {
            assert_eq!(text(role, "/metadata/name"), text(binding, "/roleRef/name"));
            assert_eq!(binding.pointer("/subjects"), Some(&syncer));
        }
    }

    #[test]
    fn no_rule_is_a_wildcard_or_about_permissions() {
        for object in of_kind("Role") {
            let rules = object.pointer("/rules").unwrap().to_string();
            assert!(!rules.contains('*') && !rules.contains("rbac.authorization.k8s.io"), "{rules}");
        }
    }
}
