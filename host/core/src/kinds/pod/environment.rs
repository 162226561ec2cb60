//! Gives containers the environment that a kubelet of the virtual cluster would give them.
//!
//! The host's service variables are switched off and the virtual cluster's are written out in front of the
//! tenant's own, so that `$(WEB_SERVICE_HOST)` works. A variable of the same name in `env` wins, as it
//! does with a kubelet; one that comes from `envFrom` does not, because its names are known only when the
//! container starts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::downward;
use super::parts::{self, CONTAINER_LISTS};
use crate::context::{Ctx, PortFact, ServiceFact};
use crate::object::{Fields, HostObject, Key, Kind, VirtualName, VirtualObject};
use crate::verdict::{Hold, Verdict};

/// The one Service that every pod learns of.
const KUBERNETES: &str = "kubernetes";
const KUBERNETES_NAMESPACE: &str = "default";
const KUBERNETES_PORT: u16 = 443;

/// Writes the environment of every container.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    let kubernetes = kubernetes_address(ctx)?;
    let variables: BTreeMap<String, String> =
        services(ctx, source, kubernetes).iter().flat_map(variables).collect();
    for list in CONTAINER_LISTS {
        for container in parts::objects_mut(draft, &format!("/spec/{list}")) {
            fill(ctx, source, &variables, container);
        }
    }
    draft.spec_mut().insert("enableServiceLinks".into(), false.into());
    Ok(())
}

/// The address of the virtual API server, without which no pod is useful.
pub(super) fn kubernetes_address(ctx: &Ctx<'_>) -> Verdict<IpAddr> {
    ctx.facts.kubernetes.first().copied().ok_or_else(|| {
        wait_for_service(
            KUBERNETES_NAMESPACE,
            KUBERNETES,
            "the virtual API server's Service has no address yet",
        )
    })
}

/// Waits for a Service of the virtual cluster.
pub(super) fn wait_for_service(namespace: &str, name: &str, why: &str) -> Hold {
    let key = Key { kind: Kind::new("v1/Service"), name: VirtualName::new(namespace, name) };
    Hold::wait(key, why)
}

/// The Services whose variables the pod gets: those of its namespace, and always the API server's.
fn services(ctx: &Ctx<'_>, source: &VirtualObject, kubernetes: IpAddr) -> Vec<ServiceFact> {
    let wants_links = source.pointer("/spec/enableServiceLinks") != Some(&Value::Bool(false));
    let mut services: Vec<ServiceFact> =
        if wants_links { ctx.lookup.services(source.namespace()).to_vec() } else { Vec::new() };
    if source.namespace() == KUBERNETES_NAMESPACE {
        // The facts say how pods reach it; the Service's own address may be about to move.
        services.retain(|service| service.name != KUBERNETES);
    }
    if !services.iter().any(|service| service.name == KUBERNETES) {
        let https = PortFact { name: Some("https".into()), port: KUBERNETES_PORT, protocol: "TCP".into() };
        services.push(ServiceFact { name: KUBERNETES.into(), cluster_ip: kubernetes, ports: vec![https] });
    }
    // A digit cannot begin a variable's name; one such Service must not make the pod invalid.
    services.retain(|service| service.name.starts_with(|c: char| c.is_ascii_alphabetic()));
    services
}

/// The variables that containers learn of a Service by.
fn variables(service: &ServiceFact) -> Vec<(String, String)> {
    let name = variable_name(&service.name);
    let ip = service.cluster_ip;
    let Some(first) = service.ports.first() else { return Vec::new() };
    let mut found = vec![
        (format!("{name}_SERVICE_HOST"), ip.to_string()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
        (format!("{name}_PORT"), url(ip, first)),
    ];
    for port in &service.ports {
        if let Some(port_name) = port.name.as_deref().filter(|port_name| !port_name.is_empty()) {
            found.push((format!("{name}_SERVICE_PORT_{}", variable_name(port_name)), port.port.to_string()));
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, port.protocol.to_uppercase());
        found.push((format!("{prefix}_PROTO"), port.protocol.to_lowercase()));
        found.push((format!("{prefix}_PORT"), port.port.to_string()));
        found.push((format!("{prefix}_ADDR"), ip.to_string()));
        found.push((prefix, url(ip, port)));
    }
    found
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn url(ip: IpAddr, port: &PortFact) -> String {
    let protocol = port.protocol.to_lowercase();
    match ip {
        IpAddr::V4(ip) => format!("{protocol}://{ip}:{}", port.port),
        IpAddr::V6(ip) => format!("{protocol}://[{ip}]:{}", port.port),
    }
}

fn fill(ctx: &Ctx<'_>, source: &VirtualObject, variables: &BTreeMap<String, String>, container: &mut Fields) {
    let mut own = match container.remove("env") {
        Some(Value::Array(own)) => own,
        _ => Vec::new(),
    };
    for variable in &mut own {
        answer(ctx, source, variable);
    }
    let defined: BTreeSet<&str> = own.iter().map(|variable| parts::text(variable, "name")).collect();
    let missing = variables.iter().filter(|(name, _)| !defined.contains(name.as_str()));
    let mut env: Vec<Value> = missing.map(|(name, value)| json!({"name": name, "value": value})).collect();
    env.extend(own);
    container.insert("env".into(), Value::Array(env));
}

/// Replaces a field of the pod that is not the same on both sides.
fn answer(ctx: &Ctx<'_>, source: &VirtualObject, variable: &mut Value) {
    let Some(path) = variable.pointer("/valueFrom/fieldRef/fieldPath").and_then(Value::as_str) else {
        return;
    };
    if let Some(value) = downward::constant(source, path) {
        if let Some(fields) = variable.as_object_mut() {
            fields.remove("valueFrom");
            fields.insert("value".into(), value.into());
        }
    } else if let Some(path) = downward::keyed_path(&ctx.facts.policy.metadata, path)
        && let Some(slot) = variable.pointer_mut("/valueFrom/fieldRef/fieldPath")
    {
        *slot = path.into();
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::World;
    use super::*;

    fn service(ip: &str) -> ServiceFact {
        let port = |name: &str, port, protocol: &str| PortFact {
            name: Some(name.into()),
            port,
            protocol: protocol.into(),
        };
        let ports = vec![port("dns-tcp", 53, "TCP"), port("dns", 53, "UDP")];
        ServiceFact { name: "my-dns".into(), cluster_ip: ip.parse().unwrap(), ports }
    }

    #[test]
    fn a_service_gives_the_classic_variables() {
        let found: BTreeMap<String, String> = variables(&service("10.0.0.1")).into_iter().collect();
        let expected = [
            ("MY_DNS_PORT", "tcp://10.0.0.1:53"),
            ("MY_DNS_PORT_53_TCP", "tcp://10.0.0.1:53"),
            ("MY_DNS_PORT_53_TCP_ADDR", "10.0.0.1"),
            ("MY_DNS_PORT_53_TCP_PORT", "53"),
            ("MY_DNS_PORT_53_TCP_PROTO", "tcp"),
            ("MY_DNS_PORT_53_UDP", "udp://10.0.0.1:53"),
            ("MY_DNS_PORT_53_UDP_ADDR", "10.0.0.1"),
            ("MY_DNS_PORT_53_UDP_PORT", "53"),
            ("MY_DNS_PORT_53_UDP_PROTO", "udp"),
            ("MY_DNS_SERVICE_HOST", "10.0.0.1"),
            ("MY_DNS_SERVICE_PORT", "53"),
            ("MY_DNS_SERVICE_PORT_DNS", "53"),
            ("MY_DNS_SERVICE_PORT_DNS_TCP", "53"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn an_ipv6_address_has_brackets_in_urls_only() {
        let found: BTreeMap<String, String> = variables(&service("fd00::1")).into_iter().collect();
        assert_eq!(found["MY_DNS_PORT"], "tcp://[fd00::1]:53");
        assert_eq!(found["MY_DNS_SERVICE_HOST"], "fd00::1");
    }

    #[test]
    fn what_the_tenant_defines_wins_and_comes_last() {
        let pod =
            VirtualObject::from_json(json!({"metadata": {"name": "web", "namespace": "shop"}})).unwrap();
        let variables =
            BTreeMap::from([("A".to_owned(), "ours".to_owned()), ("B".to_owned(), "ours".to_owned())]);
        let mut container = Fields::new();
        container.insert("env".into(), json!([{"name": "A", "value": "$(B)"}]));
        fill(&World::new().ctx(), &pod, &variables, &mut container);
        assert_eq!(container["env"], json!([{"name": "B", "value": "ours"}, {"name": "A", "value": "$(B)"}]));
    }
}
