//! Syncs the status from the host, without the names and generations that mean something on the host only.

use weft_plugin::{Map, Object, Value, names};

/// Field that names a Secret on the host, which cert-manager is creating.
const NEXT_KEY: &str = "nextPrivateKeySecretName";
const OBSERVED: &str = "observedGeneration";
const GENERATION: &str = "/metadata/generation";

/// Sets the status of `draft`, the tenant's object, to the status of `host`.
pub(crate) fn apply(host: &Object, draft: &mut Object) {
    let Some(Value::Object(shown)) = host.get("/status") else { return };
    let mut status = shown.clone();
    status.remove(NEXT_KEY);
    let observed = Observed { host: host.get(GENERATION), tenants: draft.get(GENERATION) };
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(condition) = condition {
            translate(condition, observed, draft.namespace());
        }
    }
    draft.set("/status", status);
}

/// The generations of both objects, which are counted separately.
#[derive(Debug, Clone, Copy)]
struct Observed<'a> {
    host: Option<&'a Value>,
    tenants: Option<&'a Value>,
}

fn translate(condition: &mut Map<String, Value>, generations: Observed<'_>, namespace: &str) {
    if let Some(Value::String(message)) = condition.get_mut("message") {
        *message = names::to_virtual_text(message, namespace);
    }
    let Some(observed) = condition.remove(OBSERVED) else { return };
    if let (Some(host), Some(tenants)) = (generations.host, generations.tenants)
        && *host == observed
    {
        condition.insert(OBSERVED.to_owned(), tenants.clone());
    }
}

#[cfg(test)]
mod tests {
    use weft_plugin::json;

    use super::*;

    #[test]
    fn names_and_generations_of_the_host_are_not_synced_back() {
        let host = Object::from(json!({
            "metadata": {"generation": 7},
            "status": {
                "revision": 1,
                "nextPrivateKeySecretName": "web-x-shop-x-my-vcluster-abcde",
                "conditions": [
                    {"type": "Ready", "observedGeneration": 7, "message": "Issuing as Secret tls-x-shop-x-my-vcluster"},
                    {"type": "Issuing", "observedGeneration": 6},
                ],
            },
        }));
        let mut draft = Object::from(json!({"metadata": {"generation": 2, "namespace": "shop"}}));
        apply(&host, &mut draft);
        assert_eq!(
            draft.get("/status").unwrap(),
            &json!({
                "revision": 1,
                "conditions": [
                    {"type": "Ready", "observedGeneration": 2, "message": "Issuing as Secret tls"},
                    {"type": "Issuing"},
                ],
            })
        );
    }
}
