//! What a Service may open on the host, and what it may lead to: what the operator allows.

use std::net::IpAddr;

use serde_json::Value;

use super::{is_unset, items, refuse};
use crate::object::HostObject;
use crate::policy::dns_names::Leads;
use crate::policy::services::ServicePolicy;
use crate::verdict::Verdict;

const CLUSTER_IP: &str = "ClusterIP";
const NODE_PORT: &str = "NodePort";
const LOAD_BALANCER: &str = "LoadBalancer";
const EXTERNAL_NAME: &str = "ExternalName";

/// Passes `service` if it opens nothing that the operator does not allow, and leads to nobody else's.
pub(super) fn judge(policy: &ServicePolicy, service: &HostObject) -> Verdict<()> {
    known_type(policy, service)?;
    node_ports(policy, service)?;
    load_balancer(policy, service)?;
    external_ips(policy, service)?;
    match service.pointer("/spec/externalName") {
        Some(name) if !is_unset(name) => dns_name(policy, "/spec/externalName", name),
        _ => Ok(()),
    }
}

/// Passes a name at `pointer` that leads to nothing inside the host but what the operator lists.
pub(super) fn dns_name(policy: &ServicePolicy, pointer: &str, name: &Value) -> Verdict<()> {
    match name.as_str().map(|text| policy.external_names.leads(text)) {
        Some(Leads::Allowed) => Ok(()),
        Some(Leads::Inside) => {
            let why = format!(
                "{name} may lead to a Service or machine of the host, which the operator's `services.externalNames` does not \
                 allow; name a host outside, by its whole name (inside the virtual cluster its own DNS answers all the same)"
            );
            Err(refuse(pointer, why))
        }
        Some(Leads::NoName) | None => {
            let why = format!(
                "{name} is no DNS name; for an address, write an EndpointSlice of a Service without a selector"
            );
            Err(refuse(pointer, why))
        }
    }
}

/// The address at `pointer`, read as the standard writes it: what others may read in another way is refused.
pub(super) fn address(pointer: &str, value: &Value) -> Verdict<IpAddr> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        refuse(
            pointer,
            format!("{value} is no IP address in its standard form, without leading zeros or a zone"),
        )
    })
}

fn known_type(policy: &ServicePolicy, service: &HostObject) -> Verdict<()> {
    let Some(kind) = service.pointer("/spec/type").filter(|kind| !is_unset(kind)) else { return Ok(()) };
    let refused = |why: &str| Err(refuse("/spec/type", format!("{kind} {why}")));
    match kind.as_str() {
        Some(CLUSTER_IP | EXTERNAL_NAME) => Ok(()),
        Some(NODE_PORT) if policy.node_ports => Ok(()),
        Some(NODE_PORT) => refused(
            "opens a port of every node of the host, which the operator's `services.nodePorts` does not allow; use \
             ClusterIP, or an Ingress where there is one",
        ),
        Some(LOAD_BALANCER) if policy.load_balancers => Ok(()),
        Some(LOAD_BALANCER) => refused(
            "gets a load balancer of the host, which the operator's `services.loadBalancers` does not allow; use \
             ClusterIP, or an Ingress where there is one",
        ),
        _ => refused("is no type of Services that is known here; use ClusterIP"),
    }
}

/// Ports of nodes come with the types that have them. A type that has none keeps none: it may become another one.
fn node_ports(policy: &ServicePolicy, service: &HostObject) -> Verdict<()> {
    if policy.node_ports || policy.load_balancers {
        return Ok(());
    }
    let opens = |port: &&Value| !is_unset(port) && port.as_u64() != Some(0);
    let of_ports = items(service.pointer("/spec/ports")).enumerate();
    let port = of_ports
        .filter(|(_, port)| port.get("nodePort").as_ref().is_some_and(opens))
        .map(|(index, _)| format!("/spec/ports/{index}/nodePort"))
        .next();
    let health = "/spec/healthCheckNodePort";
    let health = service.pointer(health).as_ref().is_some_and(opens).then(|| health.to_owned());
    match port.or(health) {
        Some(pointer) => {
            let why = "opens a port of every node of the host, which the operator's `services.nodePorts` does not allow; \
                       remove it";
            Err(refuse(&pointer, why.to_owned()))
        }
        None => Ok(()),
    }
}

fn load_balancer(policy: &ServicePolicy, service: &HostObject) -> Verdict<()> {
    let set = |pointer: &str| service.pointer(pointer).filter(|value| !is_unset(value)).cloned();
    let pointer = "/spec/loadBalancerClass";
    if let Some(class) = set(pointer)
        && !class.as_str().is_some_and(|class| policy.load_balancer_classes.has(class))
    {
        let why = format!(
            "the operator's `services.loadBalancerClasses` does not list {class}; name a listed one, or none"
        );
        return Err(refuse(pointer, why));
    }
    let pointer = "/spec/loadBalancerIP";
    if let Some(value) = set(pointer)
        && !policy.load_balancer_ips.has(address(pointer, &value)?)
    {
        let why =
            format!("the operator's `services.loadBalancerIPs` does not list {value}; let the host choose");
        return Err(refuse(pointer, why));
    }
    Ok(())
}

fn external_ips(policy: &ServicePolicy, service: &HostObject) -> Verdict<()> {
    let list = "/spec/externalIPs";
    if service.pointer(list).is_some_and(|value| !value.is_null() && !value.is_array()) {
        return Err(refuse(list, "it must be a list of addresses".to_owned()));
    }
    for (index, value) in items(service.pointer(list)).enumerate() {
        let pointer = format!("{list}/{index}");
        if !policy.external_ips.has(address(&pointer, value)?) {
            let why = format!(
                "traffic of the host's nodes for {value} would go to this Service, and the operator's `services.externalIPs` \
                 does not list it; remove it"
            );
            return Err(refuse(&pointer, why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The field that a Service with this spec is refused for.
    fn refused(policy: &ServicePolicy, spec: &Value) -> Option<String> {
        let service = HostObject::from_json(json!({"spec": spec})).unwrap();
        judge(policy, &service).err().and_then(|hold| hold.problem().field.clone())
    }

    #[test]
    fn what_every_tenant_may_passes_by_default() {
        for spec in [
            json!({}),
            json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 0}], "externalIPs": null}),
            json!({"type": "ExternalName", "externalName": "db.example.com"}),
            json!({"clusterIP": "None", "publishNotReadyAddresses": true, "externalName": ""}),
            json!({"sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local", "loadBalancerClass": null}),
        ] {
            assert_eq!(refused(&ServicePolicy::default(), &spec), None, "{spec}");
        }
    }

    #[test]
    fn each_power_is_refused_by_its_field_until_the_operator_allows_it() {
        for (spec, field) in [
            (json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}), "spec.type"),
            (json!({"type": "LoadBalancer"}), "spec.type"),
            (json!({"ports": [{"port": 80}, {"port": 81, "nodePort": 30080}]}), "spec.ports[1].nodePort"),
            (json!({"healthCheckNodePort": 30080}), "spec.healthCheckNodePort"),
            (json!({"loadBalancerClass": "example.com/public"}), "spec.loadBalancerClass"),
            (json!({"loadBalancerIP": "203.0.113.1"}), "spec.loadBalancerIP"),
            (json!({"externalIPs": ["203.0.113.1"]}), "spec.externalIPs[0]"),
            (json!({"externalName": "web.team-b.svc.cluster.local"}), "spec.externalName"),
        ] {
            assert_eq!(refused(&ServicePolicy::default(), &spec).as_deref(), Some(field), "{spec}");
            assert_eq!(refused(&ServicePolicy::open(), &spec), None, "{spec}");
        }
    }

    #[test]
    fn what_nobody_understands_is_refused_even_where_everything_is_allowed() {
        for (spec, field) in [
            (json!({"type": "NodePorts"}), "spec.type"),
            (json!({"type": ["NodePort"]}), "spec.type"),
            (json!({"externalIPs": "203.0.113.1"}), "spec.externalIPs"),
            (json!({"externalIPs": ["203.0.113.01"]}), "spec.externalIPs[0]"),
            (json!({"externalIPs": ["169.254.169.254"]}), "spec.externalIPs[0]"),
            (json!({"loadBalancerIP": "fe80::1%eth0"}), "spec.loadBalancerIP"),
            (json!({"loadBalancerIP": 7}), "spec.loadBalancerIP"),
            (json!({"externalName": "10.0.0.1"}), "spec.externalName"),
            (json!({"externalName": {"is": "a.example.com"}}), "spec.externalName"),
        ] {
            assert_eq!(refused(&ServicePolicy::open(), &spec).as_deref(), Some(field), "{spec}");
        }
    }

    #[test]
    fn a_load_balancer_has_the_node_ports_it_needs_and_one_of_another_class_has_not() {
        let policy = ServicePolicy { load_balancers: true, ..ServicePolicy::default() };
        let mut spec = json!({"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}], "healthCheckNodePort": 30081});
        assert_eq!(refused(&policy, &spec), None);
        spec["loadBalancerClass"] = json!("example.com/public");
        assert_eq!(refused(&policy, &spec).as_deref(), Some("spec.loadBalancerClass"));
        spec["type"] = json!("NodePort");
        assert_eq!(refused(&policy, &spec).as_deref(), Some("spec.type"));
    }
}
