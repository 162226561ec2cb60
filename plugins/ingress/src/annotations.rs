//! Annotations from which controllers read names of other objects, host names, or configuration.
//!
//! Those that contain nothing but a name are declared as references; those in JSON are rewritten here.

use weft_plugin::{Object, Result, Value, names, pointer, reject, serde_json};

use crate::Ingress;
use crate::hosts::Hosts;

/// The nginx controller's annotations that name an object, `name` or `namespace/name`, and its kind.
pub(crate) const REFERENCES: &[(&str, &str)] = &[
    ("nginx.ingress.kubernetes.io/auth-secret", "v1/Secret"),
    ("nginx.ingress.kubernetes.io/auth-tls-secret", "v1/Secret"),
    ("nginx.ingress.kubernetes.io/proxy-ssl-secret", "v1/Secret"),
    ("nginx.ingress.kubernetes.io/auth-proxy-set-headers", "v1/ConfigMap"),
    ("nginx.ingress.kubernetes.io/custom-headers", "v1/ConfigMap"),
    ("nginx.ingress.kubernetes.io/fastcgi-params-configmap", "v1/ConfigMap"),
    ("nginx.ingress.kubernetes.io/default-backend", "v1/Service"),
];

/// Prefix of the AWS load balancer controller's annotations.
const ALB: &str = "alb.ingress.kubernetes.io/";
/// Its annotations that end with the name of a backend, and hold JSON.
const ALB_OF_BACKENDS: &[&str] = &["actions.", "conditions.", "transforms."];
/// Its annotation that holds JSON with the name of a Secret.
const ALB_SIGN_IN: &str = "auth-idp-oidc";
/// Fields of its JSON that hold the name of a Service or a Secret.
const ALB_NAMES: &[&str] = &["serviceName", "ServiceName", "secretName", "SecretName"];

/// Annotations that claim host names, in a list with commas; of whichever controller.
const HOST_LISTS: &[&str] = &["server-alias", "server-alias-regex"];
/// Annotations for which a DNS controller makes records.
const DNS_NAMES: &[&str] =
    &["external-dns.alpha.kubernetes.io/hostname", "external-dns.alpha.kubernetes.io/internal-hostname"];

/// Longest name of an annotation, behind its prefix.
const MAX_NAME: usize = 63;

/// The pointer to an annotation.
pub(crate) fn place(key: &str) -> String {
    pointer::below("/metadata/annotations", key)
}

/// Rewrites the annotations of `source`, the tenant's object, in `draft`.
pub(crate) fn apply(rules: &Ingress, source: &Object, draft: &mut Object) -> Result {
    let namespace = source.namespace();
    for (key, value) in source.annotations() {
        let at = place(key);
        allow(rules, key, value, &at)?;
        if REFERENCES.iter().any(|(reference, _)| *reference == key) {
            ensure_own_namespace(namespace, value, &at)?;
        } else if let Some(name) = key.strip_prefix(ALB) {
            alb_to_host(rules, namespace, name, value, draft)?;
        }
    }
    Ok(())
}

/// Passes if the tenant may set the annotation at all.
fn allow(rules: &Ingress, key: &str, value: &str, at: &str) -> Result {
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    if name.ends_with("-snippet") && !rules.allow_snippets {
        let message =
            "pieces of the controller's configuration are not taken from tenants; use its annotations";
        return Err(reject("SnippetNotAllowed", message).at(at));
    }
    if HOST_LISTS.contains(&name) || DNS_NAMES.contains(&key) {
        rules.hosts.allow_list(value, at)?;
    }
    Ok(())
}

/// Passes if `name` or `namespace/name` is in the Ingress's own namespace: then it has its host name in the draft.
fn ensure_own_namespace(namespace: &str, value: &str, at: &str) -> Result {
    match value.split_once('/') {
        Some((other, _)) if other != namespace => {
            let message = format!(
                "it lies in namespace {other:?}; only objects of the Ingress's own namespace can be named"
            );
            Err(reject("OtherNamespace", message).at(at))
        }
        _ => Ok(()),
    }
}

/// Rewrites one annotation of the AWS load balancer controller; `name` is its key behind [`ALB`].
fn alb_to_host(rules: &Ingress, namespace: &str, name: &str, value: &str, draft: &mut Object) -> Result {
    let of_backend = ALB_OF_BACKENDS.iter().find_map(|kind| Some((kind, name.strip_prefix(kind)?)));
    if of_backend.is_none() && name != ALB_SIGN_IN {
        return Ok(());
    }
    let key = format!("{ALB}{name}");
    let at = place(&key);
    let value = json_to_host(&rules.hosts, namespace, value, &at)?;
    // A backend of this name was renamed with all others, so the annotation has to follow.
    let host_key = match of_backend {
        Some((kind, backend)) => format!("{ALB}{}", backend_to_host(kind, namespace, backend, &at)?),
        None => key.clone(),
    };
    if host_key != key {
        draft.remove_annotation(&key);
    }
    draft.set_annotation(&host_key, value);
    Ok(())
}

fn backend_to_host(kind: &str, namespace: &str, backend: &str, at: &str) -> Result<String> {
    let name = format!("{kind}{}", names::host_name(namespace, backend));
    if name.len() > MAX_NAME {
        let message = format!(
            "on the host it would be called {name:?}, longer than {MAX_NAME} characters; shorten {backend:?}"
        );
        return Err(reject("NameTooLong", message).at(at));
    }
    Ok(name)
}

/// The same JSON with names rewritten; unknown fields stay.
fn json_to_host(hosts: &Hosts, namespace: &str, text: &str, at: &str) -> Result<String> {
    let mut value: Value =
        serde_json::from_str(text).map_err(|error| reject("InvalidJson", error.to_string()).at(at))?;
    rename(&mut value, namespace);
    allow_host_headers(hosts, &value, at)?;
    Ok(serde_json::to_string(&value)?)
}

fn rename(value: &mut Value, namespace: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, namespace)),
        Value::Object(fields) => {
            for (field, value) in fields {
                match value {
                    Value::String(name) if ALB_NAMES.contains(&field.as_str()) && !name.is_empty() => {
                        *name = names::host_name(namespace, name);
                    }
                    value => rename(value, namespace),
                }
            }
        }
        _ => {}
    }
}

/// The controller serves the hosts of conditions beside those of the rules.
fn allow_host_headers(hosts: &Hosts, value: &Value, at: &str) -> Result {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| allow_host_headers(hosts, item, at)),
        Value::Object(fields) => fields.iter().try_for_each(|(field, value)| {
            if field.eq_ignore_ascii_case("hostHeaderConfig") {
                let values = value.as_object().into_iter().flat_map(|config| config.values());
                let mut claimed = values.filter_map(Value::as_array).flatten();
                return claimed.try_for_each(|host| hosts.allow(host.as_str().unwrap_or_default(), at));
            }
            allow_host_headers(hosts, value, at)
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use weft_plugin::json;
    use weft_plugin::testing::{Answer, Test};

    use super::*;

    fn after(rules: &Ingress, annotations: &Value) -> Answer {
        let ingress = json!({"metadata": {"namespace": "shop", "annotations": annotations}});
        Test::new("networking.k8s.io/v1/Ingress")
            .draft(ingress.clone())
            .virtual_object(ingress)
            .call(|call, draft| apply(rules, call.virtual_object()?, draft))
    }

    fn rules(settings: Value) -> Ingress {
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn objects_of_other_namespaces_are_refused() {
        let answer =
            after(&rules(json!({})), &json!({"nginx.ingress.kubernetes.io/proxy-ssl-secret": "billing/ca"}));
        let (_, problem) = answer.refusal();
        assert_eq!(problem.reason, "OtherNamespace");
        assert_eq!(
            problem.field.as_deref(),
            Some("/metadata/annotations/nginx.ingress.kubernetes.io~1proxy-ssl-secret")
        );
    }

    #[test]
    fn actions_keep_unknown_fields_and_follow_their_backend() {
        let action = json!({
            "type": "forward", "new": {"kept": [1.5, null]},
            "forwardConfig": {"targetGroups": [{"serviceName": "web", "servicePort": 80, "weight": 20}]},
        });
        let annotations = json!({"alb.ingress.kubernetes.io/actions.split": action.to_string()});
        let answer = after(&rules(json!({})), &annotations);
        let annotations = answer.object()["metadata"]["annotations"].as_object().unwrap();
        let (key, value) = annotations.iter().next().unwrap();
        assert_eq!(key, "alb.ingress.kubernetes.io/actions.split-x-shop-x-my-vcluster");
        let value: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
        assert_eq!(value["new"], json!({"kept": [1.5, null]}));
        assert_eq!(value["forwardConfig"]["targetGroups"][0]["serviceName"], "web-x-shop-x-my-vcluster");
        assert_eq!(annotations.len(), 1);
    }

    #[test]
    fn a_backend_whose_annotation_would_be_too_long_is_refused() {
        let key = format!("alb.ingress.kubernetes.io/conditions.{}", "b".repeat(40));
        assert_eq!(after(&rules(json!({})), &json!({key: "[]"})).refusal().1.reason, "NameTooLong");
    }

    #[test]
    fn hosts_in_annotations_are_checked_too() {
        let rules = rules(json!({"hosts": ["*.example.com"]}));
        let refused = |key: &str, value: &str| after(&rules, &json!({key: value})).refusal().1.reason.clone();
        assert_eq!(
            refused("nginx.ingress.kubernetes.io/server-alias", "a.example.com, b.org"),
            "HostNotAllowed"
        );
        assert_eq!(refused("external-dns.alpha.kubernetes.io/hostname", "b.org"), "HostNotAllowed");
        let condition = json!([{"field": "host-header", "hostHeaderConfig": {"values": ["b.org"]}}]);
        assert_eq!(
            refused("alb.ingress.kubernetes.io/conditions.a", &condition.to_string()),
            "HostNotAllowed"
        );
    }

    #[test]
    fn snippets_need_the_operators_permission() {
        let snippet = json!({"nginx.ingress.kubernetes.io/configuration-snippet": "return 200;"});
        assert_eq!(after(&rules(json!({})), &snippet).refusal().1.reason, "SnippetNotAllowed");
        assert!(after(&rules(json!({"allowSnippets": true})), &snippet).result.is_ok());
    }
}
