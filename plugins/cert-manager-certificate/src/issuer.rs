//! Translates the issuer of a Certificate: a `ClusterIssuer` of the host, or the operator's replacement for an Issuer.

use std::collections::BTreeMap;

use serde::Deserialize;
use weft_plugin::{Object, Problem, Result, json, problem, reject};

const ISSUER_REF: &str = "/spec/issuerRef";
const GROUP: &str = "cert-manager.io";
const ISSUER: &str = "Issuer";
const CLUSTER_ISSUER: &str = "ClusterIssuer";
/// Every issuer, in place of one.
const ANY: &str = "*";

/// The operator's issuers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Issuers {
    /// From a tenant's Issuer, `name` or `namespace/name`, to one of the host.
    #[serde(default)]
    issuers: BTreeMap<String, HostIssuer>,
    /// The host's ClusterIssuers that tenants may reference, or `*` for all; none if empty.
    #[serde(default)]
    cluster_issuers: Vec<String>,
}

/// An issuer of the host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostIssuer {
    name: String,
    /// An Issuer must be in the host namespace of the virtual cluster.
    #[serde(default = "cluster_issuer")]
    kind: String,
    #[serde(default = "group")]
    group: String,
}

fn cluster_issuer() -> String {
    CLUSTER_ISSUER.to_owned()
}

fn group() -> String {
    GROUP.to_owned()
}

impl Issuers {
    /// Problems of the settings.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let nameless = self.issuers.iter().filter(|(_, issuer)| issuer.name.is_empty());
        nameless
            .map(|(issuer, _)| {
                let at = weft_plugin::pointer::below("/issuers", issuer);
                problem("InvalidIssuer", "the host's issuer has no name").at(format!("{at}/name"))
            })
            .collect()
    }

    /// Sets the issuer of the host's Certificate.
    pub(crate) fn apply(&self, source: &Object, draft: &mut Object) -> Result {
        let text = |field: &str, default| {
            let found = source.get_str(&format!("{ISSUER_REF}/{field}"));
            found.filter(|text| !text.is_empty()).unwrap_or(default)
        };
        let (name, kind, group) = (text("name", ""), text("kind", ISSUER), text("group", GROUP));
        match (group, kind) {
            (GROUP, CLUSTER_ISSUER) => self.allow_cluster_issuer(name),
            (GROUP, ISSUER) => {
                let issuer = self.host_issuer(source.namespace(), name)?;
                let issuer = json!({"name": issuer.name, "kind": issuer.kind, "group": issuer.group});
                draft.set(ISSUER_REF, issuer);
                Ok(())
            }
            _ => {
                let message =
                    format!("{kind} of {group} is not offered here; name a ClusterIssuer of {GROUP}");
                Err(reject("IssuerNotOffered", message).at(format!("{ISSUER_REF}/kind")))
            }
        }
    }

    fn allow_cluster_issuer(&self, name: &str) -> Result {
        if self.cluster_issuers.iter().any(|allowed| allowed == name || allowed == ANY) {
            return Ok(());
        }
        let offered = if self.cluster_issuers.is_empty() {
            "the operator lists none in the plugin's `clusterIssuers`".to_owned()
        } else {
            format!("name one of: {}", self.cluster_issuers.join(", "))
        };
        let message = format!("ClusterIssuer {name:?} is not offered here; {offered}");
        Err(reject("IssuerNotOffered", message).at(format!("{ISSUER_REF}/name")))
    }

    /// The entry `namespace/name` takes precedence over the entry `name`.
    fn host_issuer(&self, namespace: &str, name: &str) -> Result<&HostIssuer> {
        let of_namespace = self.issuers.get(&format!("{namespace}/{name}"));
        of_namespace.or_else(|| self.issuers.get(name)).ok_or_else(|| {
            let message = format!(
                "Issuers of the virtual cluster are not known to the host's cert-manager, and the operator has put \
                 none in the place of {name:?}; name a ClusterIssuer"
            );
            reject("IssuerNotOffered", message).at(format!("{ISSUER_REF}/name"))
        })
    }
}

#[cfg(test)]
mod tests {
    use weft_plugin::Value;

    use super::*;

    fn issuer_on_host(settings: &Value, issuer: &Value) -> Result<Value> {
        let issuers = Issuers::deserialize(settings).unwrap();
        let source = Object::from(json!({"metadata": {"namespace": "shop"}, "spec": {"issuerRef": issuer}}));
        let mut draft = Object::from_json(source.as_json().to_owned());
        issuers.apply(&source, &mut draft)?;
        Ok(draft.get(ISSUER_REF).unwrap().clone())
    }

    #[test]
    fn a_cluster_issuer_is_the_hosts() {
        let issuer = json!({"kind": "ClusterIssuer", "name": "acme"});
        for listed in ["acme", "*"] {
            assert_eq!(issuer_on_host(&json!({"clusterIssuers": [listed]}), &issuer).unwrap(), issuer);
        }
        assert!(issuer_on_host(&json!({}), &issuer).is_err());
        assert!(issuer_on_host(&json!({"clusterIssuers": ["other"]}), &issuer).is_err());
    }

    #[test]
    fn an_issuer_is_replaced_by_the_operators() {
        let settings = json!({"issuers": {
            "ca": {"name": "shared-ca"}, "shop/ca": {"name": "shop-ca", "kind": "Issuer"},
        }});
        assert_eq!(
            issuer_on_host(&settings, &json!({"name": "ca"})).unwrap(),
            json!({"name": "shop-ca", "kind": "Issuer", "group": "cert-manager.io"})
        );
        let refused = issuer_on_host(&settings, &json!({"name": "other", "kind": "Issuer"})).unwrap_err();
        assert_eq!(refused.problem().field.as_deref(), Some("/spec/issuerRef/name"));
    }

    #[test]
    fn issuers_of_other_groups_are_refused() {
        let issuer = json!({"name": "pca", "kind": "AWSPCAClusterIssuer", "group": "awspca.cert-manager.io"});
        assert_eq!(issuer_on_host(&json!({}), &issuer).unwrap_err().problem().reason, "IssuerNotOffered");
    }
}
