//! Where clients reach the API server of a virtual cluster: what its certificate must name, and what is handed out.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use weft_core::object::HostObject;

use crate::config::Cluster;
use crate::config::control_plane::{ControlPlane, host_of};
use crate::control::pki::ServerNames;

/// What the addresses follow from.
pub(super) struct Addresses<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) control_plane: &'a ControlPlane,
    /// Where the API server, and readers of metrics, reach the kubelet's endpoint.
    pub(super) kubelet: &'a [String],
    /// The virtual cluster's Service on the host.
    pub(super) service: &'a HostObject,
    /// The address ranges of Services.
    pub(super) ranges: &'a [IpNet],
}

impl Addresses<'_> {
    /// Where clients outside of the host reach the API server, if that is known.
    pub(super) fn outside(&self) -> Option<String> {
        let balancer = || {
            let address = balancer_addresses(self.service).into_iter().next()?;
            Some(if address.contains(':') { format!("[{address}]:443") } else { format!("{address}:443") })
        };
        self.control_plane.external_address.clone().or_else(balancer)
    }

    /// Every name and address at which the servers of the control plane are reached.
    pub(super) fn server_names(&self) -> ServerNames {
        let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let kubelet = local.into_iter().chain(self.kubelet.iter().cloned());
        ServerNames { api: spelt(self.api_names()), kubelet: spelt(kubelet.collect()) }
    }

    fn api_names(&self) -> Vec<String> {
        let Cluster { namespace, domain, .. } = self.cluster;
        let service = self.service.name();
        let kubernetes = "kubernetes.default.svc";
        let mut names = ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", kubernetes]
            .map(str::to_owned)
            .to_vec();
        names.extend([
            format!("{kubernetes}.{domain}"),
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
        ]);
        names.extend(weft_core::context::cluster_ips(self.service).iter().map(IpAddr::to_string));
        names.extend(self.ranges.iter().filter_map(first).map(|first| first.to_string()));
        names.extend(balancer_addresses(self.service));
        names.extend(self.control_plane.server_names.iter().cloned());
        names.extend(self.control_plane.external_address.as_deref().and_then(host_of).map(str::to_owned));
        names
    }
}

/// Names as certificates spell them, each once.
fn spelt(names: Vec<String>) -> Vec<String> {
    let spell = |name: String| name.parse::<IpAddr>().map_or(name, |address| address.to_string());
    let mut names: Vec<String> = names.into_iter().map(spell).collect();
    names.sort();
    names.dedup();
    names
}

/// The address of `default/kubernetes`, which follows the range's own: that is among the hosts of an IPv6 range.
fn first(range: &IpNet) -> Option<IpAddr> {
    range.hosts().find(|address| *address != range.network())
}

fn balancer_addresses(service: &HostObject) -> Vec<String> {
    let ingress = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    let address = |ingress: &Value| {
        let of = |key: &str| ingress.get(key).and_then(Value::as_str).map(str::to_owned);
        of("hostname").or_else(|| of("ip"))
    };
    ingress.into_iter().flatten().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Names and outside address of a cluster with these settings and this status of its Service.
    fn of(control_plane: Value, status: &Value) -> (ServerNames, Option<String>) {
        let cluster: Cluster = serde_json::from_value(json!({"name": "vc", "namespace": "team-a"})).unwrap();
        let control_plane = serde_json::from_value(control_plane).unwrap();
        let service =
            json!({"metadata": {"name": "vc"}, "spec": {"clusterIPs": ["10.96.7.7"]}, "status": status});
        let service = HostObject::from_json(service).unwrap();
        let ranges = ["10.96.0.0/16".parse().unwrap(), "fd00::/112".parse().unwrap()];
        let addresses = Addresses {
            cluster: &cluster,
            control_plane: &control_plane,
            kubelet: &["10.1.2.3".to_owned()],
            service: &service,
            ranges: &ranges,
        };
        (addresses.server_names(), addresses.outside())
    }

    #[test]
    fn the_certificate_has_every_name_at_which_the_server_is_reached() {
        let balancer = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
        let (names, outside) = of(json!({"externalAddress": "vc.example.com:8443"}), &balancer);
        assert_eq!(names.kubelet, ["10.1.2.3", "127.0.0.1", "::1", "localhost"]);
        let names = names.api;
        assert!(!names.iter().any(|name| name == "fd00::"), "no server has the address of a network");
        for name in [
            "10.96.7.7",
            "10.96.0.1",
            "fd00::1",
            "192.0.2.7",
            "vc.example.com",
            "vc.team-a.svc",
            "127.0.0.1",
            "::1",
        ] {
            assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
        }
        assert_eq!(outside.as_deref(), Some("vc.example.com:8443"));
        assert_eq!(of(json!({}), &balancer).1.as_deref(), Some("192.0.2.7:443"));
    }

    #[test]
    fn an_address_outside_is_unknown_without_a_balancer_and_has_brackets_where_it_is_of_ipv6() {
        assert_eq!(of(json!({}), &json!({})).1, None);
        let balancer = json!({"loadBalancer": {"ingress": [{"ip": "2001:db8::7"}]}});
        assert_eq!(of(json!({}), &balancer).1.as_deref(), Some("[2001:db8::7]:443"));
    }
}
