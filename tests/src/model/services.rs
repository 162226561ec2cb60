//! Services: addresses and node ports from ranges, and what may change about them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::object::{default, elements, fields, map, prune, text};
use super::refusal::Refusal;
use super::rules::{NONE, Rules, Subject};

pub(super) const RULES: Rules = Rules { create, update, ..NONE };

/// The range of addresses, `10.96.0.0/16`, as the test planes have it; the first ones are given to nobody unasked.
const FIRST_ADDRESS: u32 = 0x0A60_0000;
const LAST_ADDRESS: u32 = 0x0A60_FFFF;
const RESERVED_ADDRESSES: u32 = 256;
/// The range of node ports, which is Kubernetes' default.
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;
const HEADLESS: &str = "None";

fn create(service: &mut Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    complete(service);
    fields(service).insert("status".into(), json!({"loadBalancer": {}}));
    check_ports(service, subject)?;
    allocate_address(service, subject)?;
    allocate_ports(service, subject)
}

fn update(service: &mut Value, old: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    release(service, old);
    keep_address(service, old);
    complete(service);
    check_ports(service, subject)?;
    if has_address(service) && has_address(old) {
        let address = |service: &Value| text(service, "/spec/clusterIP").to_owned();
        let was_given = !address(old).is_empty();
        if was_given && address(service) != address(old) {
            return Err(subject.invalid("spec.clusterIPs[0]", "may not change once set"));
        }
    } else {
        allocate_address(service, subject)?;
    }
    allocate_ports(service, subject)
}

fn kind_of(service: &Value) -> &str {
    match text(service, "/spec/type") {
        "" => "ClusterIP",
        kind => kind,
    }
}

fn has_address(service: &Value) -> bool {
    kind_of(service) != "ExternalName"
}

fn has_node_ports(service: &Value) -> bool {
    matches!(kind_of(service), "NodePort" | "LoadBalancer")
}

/// Defaults.
fn complete(service: &mut Value) {
    let (has_address, has_node_ports) = (has_address(service), has_node_ports(service));
    let is_balanced = kind_of(service) == "LoadBalancer";
    let spec = map(service, "spec");
    prune(spec, &["ports", "selector"]);
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    if has_address {
        default(spec, "internalTrafficPolicy", "Cluster");
        default(spec, "ipFamilies", json!(["IPv4"]));
        default(spec, "ipFamilyPolicy", "SingleStack");
    }
    if has_node_ports {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if is_balanced {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let number = port.get("port").cloned().unwrap_or_default();
        default(fields(port), "protocol", "TCP");
        default(fields(port), "targetPort", number);
    }
}

fn check_ports(service: &Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    let ports = elements(service, "/spec/ports");
    let may_have_none = !has_address(service) || text(service, "/spec/clusterIP") == HEADLESS;
    if ports.is_empty() && !may_have_none {
        return Err(subject.required("spec.ports", "a service has ports"));
    }
    let mut names = BTreeSet::new();
    let mut causes = Vec::new();
    for (index, name) in ports.iter().map(|port| text(port, "/name")).enumerate() {
        if name.is_empty() && ports.len() > 1 {
            causes.push((index, "FieldValueRequired"));
        } else if !name.is_empty() && !names.insert(name) {
            causes.push((index, "FieldValueDuplicate"));
        }
    }
    let all = causes.into_iter().fold(None, |refusal: Option<Refusal>, (index, cause)| {
        let (field, why) = (format!("spec.ports[{index}].name"), "each of many ports has its own name");
        Some(match refusal {
            Some(refusal) => refusal.and(&field, cause, why),
            None => Refusal::invalid(subject.kind, &subject.name, &field, cause, why),
        })
    });
    all.map_or(Ok(()), Err)
}

/// What a type does not have goes, unless the writer has just set it.
fn release(service: &mut Value, old: &Value) {
    let goes = |name: &str, service: &Value| {
        let pointer = format!("/spec/{name}");
        service.pointer(&pointer) == old.pointer(&pointer)
    };
    if has_address(old) && !has_address(service) && goes("clusterIP", service) && goes("clusterIPs", service)
    {
        let names = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"];
        map(service, "spec").retain(|name, _| !names.contains(&name.as_str()));
    }
    if has_node_ports(old) && !has_node_ports(service) {
        let before: BTreeSet<u64> = node_ports(old).collect();
        map(service, "spec").remove("externalTrafficPolicy");
        map(service, "spec").remove("allocateLoadBalancerNodePorts");
        for port in ports_mut(service) {
            let is_old =
                port.get("nodePort").and_then(Value::as_u64).is_some_and(|port| before.contains(&port));
            if is_old {
                fields(port).remove("nodePort");
            }
        }
    }
}

/// A writer that names no address leaves it as it is.
fn keep_address(service: &mut Value, old: &Value) {
    if !(has_address(service) && has_address(old)) {
        return;
    }
    let spec = map(service, "spec");
    for name in ["clusterIP", "ipFamilies", "ipFamilyPolicy"] {
        if let Some(value) = old.pointer(&format!("/spec/{name}")) {
            default(spec, name, value.clone());
        }
    }
    let address = spec.get("clusterIP").cloned().unwrap_or_default();
    spec.insert("clusterIPs".into(), json!([address]));
    for (port, before) in ports_mut(service).zip(elements(old, "/spec/ports")) {
        if port.get("port") == before.get("port") && before.get("nodePort").is_some() {
            default(fields(port), "nodePort", before.get("nodePort").cloned().unwrap_or_default());
        }
    }
    if !has_node_ports(service) {
        ports_mut(service).for_each(|port| drop(fields(port).remove("nodePort")));
    }
}

fn ports_mut(service: &mut Value) -> impl Iterator<Item = &mut Value> {
    map(service, "spec").get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten()
}

fn allocate_address(service: &mut Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    if !has_address(service) {
        return Ok(());
    }
    let wanted = text(service, "/spec/clusterIP").to_owned();
    let address = match wanted.as_str() {
        HEADLESS => wanted,
        "" => free_address(subject)?,
        wanted => checked(wanted, subject)?,
    };
    let spec = map(service, "spec");
    spec.insert("clusterIPs".into(), json!([address]));
    spec.insert("clusterIP".into(), address.into());
    Ok(())
}

/// The addresses that other services have.
fn taken(subject: &Subject<'_>) -> BTreeSet<String> {
    let services = subject.storage.all(subject.kind, "");
    services.map(|(_, service)| text(service, "/spec/clusterIP").to_owned()).collect()
}

fn free_address(subject: &Subject<'_>) -> Result<String, Refusal> {
    let taken = taken(subject);
    let mut addresses =
        (FIRST_ADDRESS + RESERVED_ADDRESSES..LAST_ADDRESS).map(|address| Ipv4Addr::from(address).to_string());
    let full = || subject.invalid("spec.clusterIPs", "the range is full");
    addresses.find(|address| !taken.contains(address)).ok_or_else(full)
}

fn checked(wanted: &str, subject: &Subject<'_>) -> Result<String, Refusal> {
    let address: Option<Ipv4Addr> = wanted.parse().ok();
    let Some(address) = address else {
        return Err(subject.invalid("spec.clusterIPs[0]", "is no IP address"));
    };
    if !(FIRST_ADDRESS + 1..LAST_ADDRESS).contains(&u32::from(address)) {
        return Err(subject.invalid("spec.clusterIPs", "is not in the range of addresses"));
    }
    if taken(subject).contains(wanted) {
        return Err(subject.invalid("spec.clusterIPs", "is allocated already"));
    }
    Ok(wanted.to_owned())
}

fn node_ports(service: &Value) -> impl Iterator<Item = u64> {
    elements(service, "/spec/ports").iter().filter_map(|port| port.get("nodePort")?.as_u64())
}

fn allocate_ports(service: &mut Value, subject: &Subject<'_>) -> Result<(), Refusal> {
    if !has_node_ports(service) {
        return Ok(());
    }
    let others = subject
        .storage
        .all(subject.kind, "")
        .filter(|(_, other)| text(other, "/metadata/uid") != text(service, "/metadata/uid"));
    let mut taken: BTreeSet<u64> =
        others.flat_map(|(_, other)| node_ports(other).collect::<Vec<_>>()).collect();
    for (index, port) in ports_mut(service).enumerate() {
        let wanted = port.get("nodePort").and_then(Value::as_u64).unwrap_or_default();
        let field = format!("spec.ports[{index}].nodePort");
        let given = match wanted {
            0 => NODE_PORTS.clone().find(|free| !taken.contains(free)),
            wanted => Some(wanted).filter(|wanted| NODE_PORTS.contains(wanted) && !taken.contains(wanted)),
        };
        let given =
            given.ok_or_else(|| subject.invalid(&field, "is not in the range, or allocated already"))?;
        taken.insert(given);
        fields(port).insert("nodePort".into(), given.into());
    }
    Ok(())
}
