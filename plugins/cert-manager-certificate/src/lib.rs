//! Maps the Certificates of cert-manager, which then runs on the host only.
//!
//! `issuer` translates the issuer; `status` syncs the status back.

mod issuer;
mod names;
mod status;

use serde::Deserialize;
use weft_plugin::{
    Call, Descriptor, Mapping, Object, Plugin, Problem, Result, Side, lookup, pointer, reject,
};

use crate::issuer::Issuers;
use crate::names::Names;

const KIND: &str = "Certificate";
const SECRET: &str = "v1/Secret";
const SECRET_NAME: &str = "/spec/secretName";

/// Issuers that tenants may use, and names that they may have.
#[derive(Debug, Default, Deserialize)]
struct CertManagerCertificate {
    #[serde(flatten)]
    issuers: Issuers,
    #[serde(flatten)]
    names: Names,
}

impl Plugin for CertManagerCertificate {
    fn describe() -> Descriptor {
        let mapping = Mapping::add("cert-manager.io/v1", KIND, "certificates")
            .to_virtual()
            .with_virtual_object()
            .with_host_object()
            .reference(SECRET_NAME, SECRET)
            .reference("/spec/keystores/jks/passwordSecretRef/name", SECRET)
            .reference("/spec/keystores/pkcs12/passwordSecretRef/name", SECRET)
            .host_writes(&["/spec"])
            .install_definition();
        Descriptor::new(
            "cert-manager-certificate",
            env!("CARGO_PKG_VERSION"),
            "Maps Certificates of cert-manager.",
        )
        .mapping(mapping)
        // Only the existence of the Secret matters, so its data is not requested.
        .lookup(Side::VirtualSide, SECRET, "secrets", &["/type"])
        .settings_schema(include_str!("../settings.schema.json"))
    }

    fn check(&self) -> Vec<Problem> {
        self.issuers.check().into_iter().chain(self.names.check()).collect()
    }

    fn to_host(&self, call: &Call, draft: &mut Object) -> Result {
        let source = call.virtual_object()?;
        refuse_reserved_keys(source)?;
        refuse_existing_secret(source)?;
        self.names.apply(draft)?;
        self.issuers.apply(source, draft)
    }

    fn to_virtual(&self, call: &Call, draft: &mut Object) -> Result {
        if let Some(host) = call.host_object() {
            status::apply(host, draft);
        }
        Ok(())
    }
}

/// cert-manager copies these keys to the host's Secret: with weft's keys, the Secret would look like one of weft's own.
fn refuse_reserved_keys(source: &Object) -> Result {
    for field in ["/spec/secretTemplate/labels", "/spec/secretTemplate/annotations"] {
        let fields = source.get(field).and_then(|map| map.as_object()).into_iter().flatten();
        for (key, _) in fields {
            if key.split_once('/').is_some_and(|(prefix, _)| is_reserved(prefix)) {
                let message = "keys of the domain weft.dev are the syncer's own; leave it out";
                return Err(reject("ReservedKey", message).at(pointer::below(field, key)));
            }
        }
    }
    Ok(())
}

fn is_reserved(prefix: &str) -> bool {
    prefix.strip_suffix("weft.dev").is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// cert-manager and weft (for the tenant's Secret of that name) would both write the same Secret on the host.
fn refuse_existing_secret(source: &Object) -> Result {
    let Some(name) = source.get_str(SECRET_NAME).filter(|name| !name.is_empty()) else { return Ok(()) };
    if lookup::get(Side::VirtualSide, SECRET, Some(source.namespace()), name)?.is_none() {
        return Ok(());
    }
    let message = format!(
        "there is a Secret {name:?} already, and the host's cert-manager would write another in its place; \
         delete it, or name another one"
    );
    Err(reject("SecretExists", message).at(SECRET_NAME))
}

weft_plugin::export!(CertManagerCertificate);

#[cfg(test)]
mod tests {
    use weft_plugin::testing::{Answer, Test};
    use weft_plugin::{Value, json};

    use super::*;

    fn test(spec: &Value) -> Test {
        let certificate = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
        Test::new("cert-manager.io/v1/Certificate").draft(certificate.clone()).virtual_object(certificate)
    }

    fn reason(answer: &Answer) -> &str {
        &answer.refusal().1.reason
    }

    #[test]
    fn an_existing_secret_is_not_overwritten() {
        let spec = json!({"secretName": "tls", "issuerRef": {"kind": "ClusterIssuer", "name": "a"}});
        let plugin = CertManagerCertificate::deserialize(json!({"clusterIssuers": ["a"]})).unwrap();
        let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": name}});
        let refused = test(&spec).object(Side::VirtualSide, secret("tls")).to_host(&plugin);
        assert_eq!(reason(&refused), "SecretExists");
        assert!(test(&spec).object(Side::VirtualSide, secret("other")).to_host(&plugin).result.is_ok());
    }

    #[test]
    fn a_template_cannot_make_a_secret_look_like_one_of_wefts() {
        let spec = json!({"secretTemplate": {"annotations": {"weft.dev/identity": "{}"}}});
        let refused = test(&spec).to_host(&CertManagerCertificate::default());
        assert_eq!(reason(&refused), "ReservedKey");
        assert_eq!(
            refused.refusal().1.field.as_deref(),
            Some("/spec/secretTemplate/annotations/weft.dev~1identity")
        );
    }
}
