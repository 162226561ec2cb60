//! What Services and their endpoints may open on the host and lead to: `services`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weft_core::policy::addresses::{Addresses, Cidr, CidrError};
use weft_core::policy::dns_names::{self, DnsNames};
use weft_core::policy::services::ServicePolicy;

use crate::config::Error;
use crate::config::patterns::{self, patterns};

/// What Services, Endpoints and EndpointSlices of tenants may open on the host and lead to. What is not allowed is refused
/// with an event; what is on the host already stays. A change needs a restart of the pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Services {
    /// Whether Services may be of type `NodePort`: each opens ports of every node.
    pub node_ports: bool,
    /// Whether Services may be of type `LoadBalancer`, with the node ports that a load balancer needs.
    pub load_balancers: bool,
    /// Classes that a Service may name in `loadBalancerClass`; `*` is any. The host's default needs no name.
    pub load_balancer_classes: Vec<String>,
    /// Addresses that a Service may ask for in `loadBalancerIP`, as addresses or ranges.
    #[serde(rename = "loadBalancerIPs")]
    pub load_balancer_ips: Vec<Range>,
    /// Addresses that a Service may have in `externalIPs`: traffic of the host's nodes for them goes to the tenant.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<Range>,
    /// Names inside the host that a Service of type `ExternalName`, or a slice of names, may lead to: names as
    /// `db.team-b.svc.cluster.local`, zones as `*.corp.internal`, or `*`. Names outside need no entry. Inside are names
    /// with one or two labels, names with a label `svc` or `pod`, and names that end with `local`, `localhost`,
    /// `localdomain`, `internal`, `intranet` or `arpa`.
    pub external_names: Vec<String>,
    /// Addresses that endpoints may have, such as those of a database outside. The virtual cluster's own pods need no entry
    /// if `targetRef` names them. A range opens nothing of link-local, loopback, multicast and unspecified addresses and of
    /// metadata services: these are listed as single addresses.
    pub endpoints: Vec<Range>,
}

/// An address, or a range as `10.1.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Range(Cidr);

impl TryFrom<String> for Range {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse().map(Self)
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Services {
    pub(super) fn check(&self) -> Result<(), Error> {
        patterns::check("services.loadBalancerClasses", &self.load_balancer_classes)?;
        match self.external_names.iter().find(|name| !dns_names::is_entry(&name.to_ascii_lowercase())) {
            Some(name) => {
                let why = format!("{name:?} is neither a DNS name nor a zone such as `*.corp.internal`");
                Err(Error::Value { key: "services.externalNames", why })
            }
            None => Ok(()),
        }
    }

    /// The same for the guard.
    pub fn policy(&self) -> ServicePolicy {
        let addresses = |ranges: &[Range]| Addresses::new(ranges.iter().map(|range| range.0).collect());
        ServicePolicy {
            node_ports: self.node_ports,
            load_balancers: self.load_balancers,
            load_balancer_classes: patterns(&self.load_balancer_classes),
            load_balancer_ips: addresses(&self.load_balancer_ips),
            external_ips: addresses(&self.external_ips),
            external_names: DnsNames::new(self.external_names.iter().cloned()),
            endpoints: addresses(&self.endpoints),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use weft_core::policy::dns_names::Leads;

    use super::*;
    use crate::config::Config;
    use crate::config::testing::config;

    #[test]
    fn nothing_is_open_by_default() {
        assert_eq!(config(&json!({})).policy().services, ServicePolicy::default());
    }

    #[test]
    fn what_the_operator_lists_reaches_the_guard() {
        let policy = config(&json!({"services": {
            "nodePorts": true, "loadBalancers": true, "loadBalancerClasses": ["a/b"], "loadBalancerIPs": ["203.0.113.0/24"],
            "externalIPs": ["198.51.100.7"], "externalNames": ["*.corp.internal"], "endpoints": ["10.1.0.0/16"],
        }}))
        .policy()
        .services;
        assert!(policy.node_ports && policy.load_balancers && policy.load_balancer_classes.has("a/b"));
        assert!(policy.load_balancer_ips.has([203, 0, 113, 9].into()));
        assert!(
            policy.external_ips.has([198, 51, 100, 7].into()) && policy.endpoints.has([10, 1, 2, 3].into())
        );
        assert_eq!(policy.external_names.leads("db.corp.internal"), Leads::Allowed);
    }

    #[test]
    fn what_is_no_range_or_name_is_refused() {
        for (services, part) in [
            ("endpoints: [10.1.2.3/16]", "does not begin with the first address"),
            ("externalIPs: [everything]", "neither an address nor a range"),
            ("externalNames: ['a.*']", "services.externalNames"),
        ] {
            let text = format!("cluster: {{name: a, namespace: b}}\nservices: {{{services}}}");
            let error = Config::parse(Path::new("weft.yaml"), &text).unwrap_err().to_string();
            assert!(error.contains(part), "{services}: {error}");
        }
    }
}
