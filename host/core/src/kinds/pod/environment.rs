//! Gives containers the environment that a kubelet of the virtual cluster would give them.
//!
//! The host's service variables are switched off. Those of the virtual cluster are in a ConfigMap of the virtual namespace
//! ([`config_map_name`]), which stands in front of all that the container gets: what the tenant defines, in `env` or by
//! `envFrom`, wins; `$(WEB_SERVICE_HOST)` works; and a container that starts again learns of the Services of then.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::downward;
use super::parts::{self, CONTAINER_LISTS};
use crate::context::{Ctx, PortFact, ServiceFact};
use crate::names::{HostName, Names};
use crate::object::{Fields, HostObject, Key, Kind, VirtualName, VirtualObject};
use crate::verdict::{Hold, Verdict};

/// The one Service that every pod learns of.
const KUBERNETES: &str = "kubernetes";
const KUBERNETES_NAMESPACE: &str = "default";
const KUBERNETES_PORT: u16 = 443;

/// Writes the environment of every container.
pub(super) fn apply(ctx: &Ctx<'_>, source: &VirtualObject, draft: &mut HostObject) -> Verdict<()> {
    kubernetes_address(ctx)?;
    let config_map = config_map_name(ctx.names, scope(source));
    for list in CONTAINER_LISTS {
        for container in parts::objects_mut(draft, &format!("/spec/{list}")) {
            learn_services(&config_map, container);
            for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
                answer(ctx, source, variable);
            }
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

/// The virtual namespace whose Services `pod` learns of; empty where it wants to learn of the API server alone.
pub fn scope(pod: &VirtualObject) -> &str {
    let wants_links = pod.pointer("/spec/enableServiceLinks") != Some(&Value::Bool(false));
    if wants_links { pod.namespace() } else { "" }
}

/// The host ConfigMap with the variables of a [`scope`].
pub fn config_map_name(names: &Names, scope: &str) -> HostName {
    names.derived("environment", &VirtualName::new(scope, "services"))
}

/// The variables of a [`scope`] that has these Services, where pods reach the API server at `kubernetes`.
pub fn service_variables(
    services: &[ServiceFact],
    scope: &str,
    kubernetes: IpAddr,
) -> BTreeMap<String, String> {
    // The Service of the API server itself may be about to move.
    let is_learned = |service: &&ServiceFact| scope != KUBERNETES_NAMESPACE || service.name != KUBERNETES;
    let services: Vec<&ServiceFact> = services.iter().filter(is_learned).collect();
    let https = PortFact { name: Some("https".into()), port: KUBERNETES_PORT, protocol: "TCP".into() };
    let api = ServiceFact { name: KUBERNETES.into(), cluster_ip: kubernetes, ports: vec![https] };
    let is_missing = services.iter().all(|service| service.name != KUBERNETES);
    services.into_iter().chain(is_missing.then_some(&api)).flat_map(variables).collect()
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

/// Puts the ConfigMap in front of what the container gets its environment from. It is not optional: a container does not
/// start without it.
fn learn_services(config_map: &HostName, container: &mut Fields) {
    let mut sources = vec![json!({"configMapRef": {"name": config_map.as_str()}})];
    if let Some(Value::Array(own)) = container.remove("envFrom") {
        sources.extend(own);
    }
    container.insert("envFrom".into(), Value::Array(sources));
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
    fn what_the_tenant_takes_from_elsewhere_comes_after_the_services() {
        let mut container = Fields::new();
        let of_services = json!({"configMapRef": {"name": "services"}});
        learn_services(&host_name("services"), &mut container);
        assert_eq!(container["envFrom"], json!([of_services]));
        let own = json!({"prefix": "DB_", "secretRef": {"name": "db"}});
        container.insert("envFrom".into(), json!([own]));
        learn_services(&host_name("services"), &mut container);
        assert_eq!(container["envFrom"], json!([of_services, own]), "the last one wins");
    }

    fn host_name(name: &str) -> HostName {
        HostName::of(&super::super::fixture::host_object(json!({"metadata": {"name": name}})))
    }

    #[test]
    fn a_pod_learns_of_its_namespaces_services_and_always_of_the_api_server() {
        let named = |name: &str, ip: &str| ServiceFact { name: name.into(), ..service(ip) };
        let hosts = |services: &[ServiceFact], scope: &str| -> BTreeMap<String, String> {
            let all = service_variables(services, scope, IpAddr::from([10, 96, 0, 1]));
            all.into_iter().filter(|(name, _)| name.ends_with("_SERVICE_HOST")).collect()
        };
        let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, ip)| (format!("{name}_SERVICE_HOST"), (*ip).to_owned())).collect()
        };
        let web = named("web", "10.0.0.7");
        assert_eq!(hosts(&[], ""), expected(&[("KUBERNETES", "10.96.0.1")]));
        assert_eq!(
            hosts(std::slice::from_ref(&web), "shop"),
            expected(&[("KUBERNETES", "10.96.0.1"), ("WEB", "10.0.0.7")])
        );
        let own = named("kubernetes", "10.0.0.8");
        assert_eq!(hosts(std::slice::from_ref(&own), "shop"), expected(&[("KUBERNETES", "10.0.0.8")]));
        let moving = [own, web];
        assert_eq!(
            hosts(&moving, "default"),
            expected(&[("KUBERNETES", "10.96.0.1"), ("WEB", "10.0.0.7")]),
            "the API server is where the host has it, not where its Service says yet"
        );
    }

    #[test]
    fn a_pod_without_service_links_learns_of_the_api_server_alone() {
        let pod = |links: Value| {
            let metadata = json!({"name": "web", "namespace": "shop"});
            VirtualObject::from_json(json!({"metadata": metadata, "spec": {"enableServiceLinks": links}}))
                .unwrap()
        };
        assert_eq!(scope(&pod(json!(null))), "shop");
        assert_eq!(scope(&pod(json!(true))), "shop");
        assert_eq!(scope(&pod(json!(false))), "");
        let names = Names::new("vc", "team-a").unwrap();
        assert_ne!(config_map_name(&names, "shop"), config_map_name(&names, ""));
        assert_ne!(config_map_name(&names, "shop"), config_map_name(&names, "bank"));
    }
}
