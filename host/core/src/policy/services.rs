//! What Services and their endpoints may open on the host and lead to.

use super::addresses::Addresses;
use super::dns_names::DnsNames;
use super::patterns::Patterns;

/// What the operator allows Services, Endpoints and EndpointSlices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServicePolicy {
    /// Services may open ports of every node.
    pub node_ports: bool,
    /// Services may get load balancers of the host, with the ports of nodes that these need.
    pub load_balancers: bool,
    /// Classes of load balancers that Services may name.
    pub load_balancer_classes: Patterns,
    /// Addresses that Services may ask of load balancers.
    pub load_balancer_ips: Addresses,
    /// Addresses for which nodes may send traffic to Services.
    pub external_ips: Addresses,
    /// Names inside the host that Services and endpoints may lead to.
    pub external_names: DnsNames,
    /// Addresses, beside those of the virtual cluster's own pods, that endpoints may have.
    pub endpoints: Addresses,
}

impl ServicePolicy {
    /// Everything that can be allowed at all.
    pub fn open() -> Self {
        Self {
            node_ports: true,
            load_balancers: true,
            load_balancer_classes: Patterns::any(),
            load_balancer_ips: Addresses::any(),
            external_ips: Addresses::any(),
            external_names: DnsNames::any(),
            endpoints: Addresses::any(),
        }
    }
}
