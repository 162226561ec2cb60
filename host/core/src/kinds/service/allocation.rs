//! What servers allocate to Services: addresses and ports, asked for on the host and taken back from it.

use serde_json::{Value, json};

use crate::change::Change;
use crate::object::{Fields, HostObject, Object, VirtualObject, child_mut};

/// The fields that hold the addresses of a Service.
pub(super) const ADDRESSES: &[&str] = &["clusterIP", "clusterIPs", "ipFamilies"];
/// The port on which nodes answer whether they have an endpoint; only some load balancers have one.
pub(super) const HEALTH_PORT: &str = "healthCheckNodePort";

const HEADLESS: &str = "None";

/// Adds to `change` what the host is asked to allocate now and is not asked to change later.
pub(super) fn ask(desired: &HostObject, current: &HostObject, change: Option<Change>) -> Option<Change> {
    let mut asked = Fields::new();
    if gets_addresses(desired, current) || changes_families(desired, current) {
        for field in ADDRESSES {
            copy(field, desired, &mut asked);
        }
    }
    if number(current, HEALTH_PORT) == 0 && number(desired, HEALTH_PORT) != 0 {
        copy(HEALTH_PORT, desired, &mut asked);
    }
    if asked.is_empty() {
        return change;
    }
    let mut change = change.unwrap_or_else(|| Change::merge(json!({})));
    if let Some(body) = change.body.as_object_mut() {
        child_mut(body, "spec").extend(asked);
    }
    Some(change)
}

/// Whether one of the two is headless and the other has an address: the API allows no such change.
pub(super) fn switches_headless(desired: &HostObject, current: &HostObject) -> bool {
    let (desired, current) = (cluster_ip(desired), cluster_ip(current));
    !desired.is_empty() && !current.is_empty() && (desired == HEADLESS) != (current == HEADLESS)
}

/// Puts the node ports of `current` in place of other ones that `wanted` asks for.
pub(super) fn keep_node_ports(wanted: &mut HostObject, current: &HostObject) {
    let Some(have) = current.pointer("/spec/ports").and_then(Value::as_array) else { return };
    take_node_ports(wanted.spec_mut(), have);
}

/// Puts the addresses and ports that the host gave in place of those that the virtual server gave.
pub(super) fn take(source: &HostObject, draft: &mut VirtualObject) {
    let own = cluster_ip(draft).to_owned();
    if own == HEADLESS || matches!(cluster_ip(source), "" | HEADLESS) || is_external_name(draft) {
        return;
    }
    take_addresses(source, draft);
    if let Some(have) = source.pointer("/spec/ports").and_then(Value::as_array) {
        take_node_ports(draft.spec_mut(), have);
    }
    if number(source, HEALTH_PORT) != 0 && number(draft, HEALTH_PORT) != 0 {
        copy(HEALTH_PORT, source, draft.spec_mut());
    }
}

/// `desired` without the allocations that the host refused, so that the host makes them.
pub(super) fn relax(desired: &HostObject, refused: &[String]) -> Option<HostObject> {
    let mut result = desired.clone();
    for field in refused {
        relax_field(result.spec_mut(), field);
    }
    (result != *desired).then_some(result)
}

/// `desired` without its health check port, if it asks for one: the one allocation whose refusal names no field, because
/// the server says that it failed.
pub(super) fn relax_health_port(desired: &HostObject) -> Option<HostObject> {
    let mut result = desired.clone();
    result.spec_mut().remove(HEALTH_PORT)?;
    Some(result)
}

/// The addresses in `clusterIPs`, or the one in `clusterIP` of an object that is older than the list.
pub(super) fn addresses<S>(object: &Object<S>) -> Vec<String> {
    let list = strings(object, "clusterIPs");
    let one = cluster_ip(object);
    if list.is_empty() && !one.is_empty() { vec![one.to_owned()] } else { list }
}

/// `IPv4` or `IPv6`.
pub(super) fn family(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

pub(super) fn is_external_name<S>(object: &Object<S>) -> bool {
    object.text("/spec/type") == Some("ExternalName")
}

/// Whether the host object was an ExternalName, or lost its address for another reason, and is to have one.
fn gets_addresses(desired: &HostObject, current: &HostObject) -> bool {
    cluster_ip(current).is_empty() && !cluster_ip(desired).is_empty()
}

/// Whether a second address comes or goes by a change of policy.
fn changes_families(desired: &HostObject, current: &HostObject) -> bool {
    let policy = |object: &HostObject| object.text("/spec/ipFamilyPolicy").map(str::to_owned);
    policy(desired) != policy(current)
        && !cluster_ip(desired).is_empty()
        && cluster_ip(desired) == cluster_ip(current)
        && addresses(desired).len() != addresses(current).len()
}

/// Takes the host's address of each family that the virtual Service has. A family that only one of
/// the clusters knows is left alone: the other could not hold it.
fn take_addresses(source: &HostObject, draft: &mut VirtualObject) {
    let (given, own) = (addresses(source), addresses(draft));
    let of_family = |wanted: &str| given.iter().find(|address| family(address) == wanted).cloned();
    let mut taken: Vec<String> =
        own.iter().map(|old| of_family(family(old)).unwrap_or_else(|| old.clone())).collect();
    let first_is_given = taken.first().is_some_and(|first| given.contains(first));
    if !first_is_given {
        taken.clone_from(&given);
    }
    set_addresses(draft.spec_mut(), &taken);
}

/// Takes the ports of nodes that `current` has out of `spec`: it gives them up only when it moves.
pub(super) fn without_ports_of(current: &VirtualObject, spec: &mut Fields) {
    let ports = current.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let own: Vec<&Value> = ports.filter_map(|port| port.get("nodePort")).collect();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.get("nodePort").is_some_and(|number| own.contains(&number))
            && let Some(port) = port.as_object_mut()
        {
            port.remove("nodePort");
        }
    }
    let health_port = current.pointer("/spec/healthCheckNodePort");
    if health_port.is_some() && spec.get(HEALTH_PORT) == health_port {
        spec.remove(HEALTH_PORT);
    }
}

/// Writes the addresses and their families.
pub(super) fn set_addresses(spec: &mut Fields, addresses: &[String]) {
    let families: Vec<&str> = addresses.iter().map(|address| family(address)).collect();
    spec.insert("clusterIP".to_owned(), addresses.first().map(String::as_str).unwrap_or_default().into());
    spec.insert("clusterIPs".to_owned(), json!(addresses));
    spec.insert("ipFamilies".to_owned(), json!(families));
}

fn take_node_ports(spec: &mut Fields, have: &[Value]) {
    let Some(Value::Array(ports)) = spec.get_mut("ports") else { return };
    for (port, have) in ports.iter_mut().zip(have) {
        let same = ["port", "protocol"].iter().all(|field| port.get(*field) == have.get(*field));
        let node_port = have.get("nodePort").filter(|number| number.as_i64() != Some(0));
        if let (true, Some(node_port), Some(port)) = (same, node_port, port.as_object_mut())
            && port.contains_key("nodePort")
        {
            port.insert("nodePort".to_owned(), node_port.clone());
        }
    }
}

fn relax_field(spec: &mut Fields, field: &str) {
    match field.strip_prefix("spec.").unwrap_or(field) {
        // The host knows one family: its first address can still be the same.
        "clusterIPs[1]" | "ipFamilies[1]" => keep_first_family(spec),
        HEALTH_PORT => drop(spec.remove(HEALTH_PORT)),
        name if is_address(name) => relax_addresses(spec),
        name => relax_node_port(spec, name),
    }
}

fn keep_first_family(spec: &mut Fields) {
    for list in ["clusterIPs", "ipFamilies"] {
        if let Some(Value::Array(items)) = spec.get_mut(list) {
            items.truncate(1);
        }
    }
}

/// A Service without an address is no allocation but what the tenant asked for.
fn relax_addresses(spec: &mut Fields) {
    if spec.get("clusterIP").and_then(Value::as_str) != Some(HEADLESS) {
        for field in ADDRESSES {
            spec.remove(*field);
        }
    }
}

/// Whether this field of a spec, as a refusal names it, is one of the addresses.
pub(super) fn is_address(name: &str) -> bool {
    ADDRESSES.iter().any(|address| name.starts_with(address))
}

/// Which port's `nodePort` this field of a spec is, as a refusal names it.
pub(super) fn node_port_index(name: &str) -> Option<usize> {
    name.strip_prefix("ports[")?.strip_suffix("].nodePort")?.parse().ok()
}

fn relax_node_port(spec: &mut Fields, name: &str) {
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    let port = node_port_index(name).zip(ports).and_then(|(index, ports)| ports.get_mut(index));
    if let Some(Value::Object(port)) = port {
        port.remove("nodePort");
    }
}

fn cluster_ip<S>(object: &Object<S>) -> &str {
    object.text("/spec/clusterIP").unwrap_or_default()
}

fn strings<S>(object: &Object<S>, field: &str) -> Vec<String> {
    let list = object.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn number<S>(object: &Object<S>, field: &str) -> i64 {
    object.pointer(&format!("/spec/{field}")).and_then(Value::as_i64).unwrap_or(0)
}

fn copy<S>(field: &str, from: &Object<S>, to: &mut Fields) {
    if let Some(value) = from.pointer(&format!("/spec/{field}")) {
        to.insert(field.to_owned(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_refused_is_left_to_the_host() {
        let spec = json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "ipFamilies": ["IPv4", "IPv6"], "healthCheckNodePort": 31000, "ports": [{"port": 80, "nodePort": 30080}, {"port": 81, "nodePort": 30081}]});
        let desired = HostObject::from_json(json!({"spec": spec})).unwrap();
        let relaxed = |refused: &str| {
            relax(&desired, &[refused.to_owned()]).map(|object| object.pointer("/spec").cloned().unwrap())
        };
        assert_eq!(
            relaxed("spec.ports[1].nodePort").unwrap()["ports"],
            json!([{"port": 80, "nodePort": 30080}, {"port": 81}])
        );
        assert_eq!(relaxed("spec.ipFamilies[1]").unwrap()["clusterIPs"], json!(["10.96.0.7"]));
        assert_eq!(relaxed("spec.clusterIPs").unwrap().get("clusterIP"), None);
        assert_eq!(relaxed("spec.healthCheckNodePort").unwrap().get("healthCheckNodePort"), None);
        assert_eq!(relaxed("spec.selector"), None);
        assert_eq!(relax(&desired, &[]), None, "a refusal without a field says nothing of any");
        let relaxed = relax_health_port(&desired).unwrap();
        assert_eq!(relaxed.pointer("/spec/healthCheckNodePort"), None);
        assert_eq!(relaxed.pointer("/spec/clusterIPs"), desired.pointer("/spec/clusterIPs"));
        assert_eq!(relax_health_port(&relaxed), None);
    }

    #[test]
    fn a_headless_service_stays_headless() {
        let desired =
            HostObject::from_json(json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})).unwrap();
        assert_eq!(relax(&desired, &["spec.clusterIPs".to_owned()]), None);
    }
}
