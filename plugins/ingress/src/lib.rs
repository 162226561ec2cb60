//! Maps Ingresses: backends and certificates by declared references, host names and classes by the operator's lists.
//!
//! `hosts` and `class` limit what a tenant may claim; `annotations` rewrites the annotations that controllers read.

mod annotations;
mod class;
mod hosts;

use serde::Deserialize;
use weft_plugin::{Call, Descriptor, Mapping, Object, Plugin, Problem, Result, Value, json, reject};

use crate::hosts::Hosts;

/// What the operator allows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Ingress {
    /// Host names that tenants may claim, `shop.example.com` or `*.example.com`, or `*` for all; none if empty.
    #[serde(default)]
    hosts: Hosts,
    /// Classes that tenants may name, or `*` for all; none if empty and there is no `class`.
    #[serde(default)]
    classes: Vec<String>,
    /// The class that every Ingress gets on the host, whatever it names.
    #[serde(default)]
    class: Option<String>,
    /// Whether tenants may set snippets of a controller's configuration.
    #[serde(default)]
    allow_snippets: bool,
}

/// Where an Ingress names a backend.
const BACKENDS: [&str; 2] = ["/spec/defaultBackend", "/spec/rules/*/http/paths/*/backend"];

impl Plugin for Ingress {
    fn describe() -> Descriptor {
        let mut mapping = Mapping::add("networking.k8s.io/v1", "Ingress", "ingresses")
            .to_virtual()
            .with_virtual_object()
            .with_host_object()
            .reference("/spec/tls/*/secretName", "v1/Secret")
            .host_writes(&["/spec"]);
        for backend in BACKENDS {
            mapping = mapping.reference(&format!("{backend}/service/name"), "v1/Service");
        }
        for (annotation, kind) in annotations::REFERENCES {
            mapping = mapping.reference(&annotations::place(annotation), kind);
        }
        Descriptor::new("ingress", env!("CARGO_PKG_VERSION"), "Maps Ingresses.")
            .mapping(mapping)
            .settings_schema(include_str!("../settings.schema.json"))
    }

    fn check(&self) -> Vec<Problem> {
        self.hosts.check()
    }

    fn to_host(&self, call: &Call, draft: &mut Object) -> Result {
        refuse_resource_backends(draft)?;
        class::apply(&self.classes, self.class.as_deref(), draft)?;
        self.hosts.allow_spec(draft)?;
        annotations::apply(self, call.virtual_object()?, draft)
    }

    /// Syncs the addresses back; nothing else of the host's status is meaningful to a tenant.
    fn to_virtual(&self, call: &Call, draft: &mut Object) -> Result {
        let shown = call.host_object().and_then(|host| host.get("/status/loadBalancer"));
        match shown {
            Some(addresses) => draft.set("/status/loadBalancer", addresses.clone()),
            None if draft.get("/status/loadBalancer").is_some() => {
                draft.set("/status/loadBalancer", json!({}));
            }
            None => {}
        }
        Ok(())
    }
}

/// A backend that is not a Service is a custom resource that is not synced.
fn refuse_resource_backends(draft: &Object) -> Result {
    for backend in BACKENDS {
        for (pointer, resource) in draft.find(&format!("{backend}/resource")) {
            if *resource != Value::Null {
                let message =
                    "only Services can be backends here: what another object means is known to its own host";
                return Err(reject("ResourceBackend", message).at(pointer));
            }
        }
    }
    Ok(())
}

weft_plugin::export!(Ingress);

#[cfg(test)]
mod tests {
    use weft_plugin::testing::Test;

    use super::*;

    /// Everything is allowed.
    fn open() -> Ingress {
        Ingress::deserialize(json!({"hosts": ["*"], "classes": ["*"]})).unwrap()
    }

    fn test(ingress: &Value) -> Test {
        Test::new("networking.k8s.io/v1/Ingress").draft(ingress.clone()).virtual_object(ingress.clone())
    }

    #[test]
    fn a_backend_that_is_not_a_service_is_refused_with_its_field() {
        let resource = json!({"apiGroup": "example.com", "kind": "Bucket", "name": "a"});
        let spec = json!({"rules": [{"http": {"paths": [
            {"path": "/", "backend": {"service": {"name": "a"}}}, {"path": "/b", "backend": {"resource": resource}},
        ]}}]});
        let answer = test(&json!({"metadata": {}, "spec": spec})).to_host(&open());
        let (_, problem) = answer.refusal();
        assert_eq!(problem.reason, "ResourceBackend");
        assert_eq!(problem.field.as_deref(), Some("/spec/rules/0/http/paths/1/backend/resource"));
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let reason = |spec: Value| {
            let answer = test(&json!({"metadata": {}, "spec": spec})).to_host(&Ingress::default());
            answer.refusal().1.reason.clone()
        };
        assert_eq!(reason(json!({"rules": [{"host": "a.example.com"}]})), "ClassNotAllowed");
        assert_eq!(reason(json!({"ingressClassName": "nginx"})), "ClassNotAllowed");
        let with_class = Ingress { class: Some("shared".to_owned()), ..Ingress::default() };
        let rule = json!({"metadata": {}, "spec": {"rules": [{"host": "a.example.com"}]}});
        assert_eq!(test(&rule).to_host(&with_class).refusal().1.reason, "HostNotAllowed");
    }

    #[test]
    fn a_plain_ingress_is_not_changed() {
        let ingress =
            json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"rules": [{"host": "a.example.com"}]}});
        assert_eq!(test(&ingress).to_host(&open()).object(), &ingress);
    }

    #[test]
    fn addresses_are_synced_back_and_removed() {
        let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let tenants = json!({"metadata": {"name": "a"}});
        let back = Test::new("networking.k8s.io/v1/Ingress")
            .draft(tenants)
            .host_object(json!({"status": address}))
            .to_virtual(&Ingress::default());
        assert_eq!(back.object()["status"], address);
        let gone = Test::new("networking.k8s.io/v1/Ingress")
            .draft(back.object().clone())
            .host_object(json!({}))
            .to_virtual(&Ingress::default());
        assert_eq!(gone.object()["status"], json!({"loadBalancer": {}}));
    }
}
