//! Reports which addresses and ports of a virtual Service the host could not give, and what it gave instead.
//!
//! Nobody can say whether a number was asked for or allocated, so each is reported: firewalls and load balancers outside may be
//! set up for it.

use serde_json::Value;

use super::allocation::{self, HEALTH_PORT};
use crate::context::{Ctx, Event};
use crate::object::VirtualObject;
use crate::verdict::By;

/// Shows up in `kubectl describe` as Reason.
const REASON: &str = "AllocationReplaced";

/// Notes an event where `given`, the Service with what the host gave, differs from `own`. It may keep its own, if its server
/// refuses the host's.
pub(super) fn report(ctx: &Ctx<'_>, own: &VirtualObject, given: &VirtualObject) {
    let (addresses, ports) = (addresses(own, given), ports(own, given));
    for (replaced, is_warning) in [(addresses, false), (ports, true)] {
        if !replaced.is_empty() {
            let message = format!(
                "the host could not give what is taken there or out of its range: {}",
                replaced.join("; ")
            );
            ctx.notes.event(Event { by: By::Mapper, is_warning, reason: REASON.to_owned(), message });
        }
    }
}

fn addresses(own: &VirtualObject, given: &VirtualObject) -> Vec<String> {
    let given = allocation::addresses(given);
    let own = allocation::addresses(own).into_iter().filter(|address| !given.contains(address));
    let of_family = |address: &str| {
        given.iter().find(|other| allocation::family(other) == allocation::family(address)).cloned()
    };
    own.filter_map(|address| Some(format!("{} instead of the address {address}", of_family(&address)?)))
        .collect()
}

fn ports(own: &VirtualObject, given: &VirtualObject) -> Vec<String> {
    let list = |service: &VirtualObject| {
        service.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let number = |port: &Value| port.get("nodePort").and_then(Value::as_i64);
    let mut replaced: Vec<String> = list(own)
        .iter()
        .zip(&list(given))
        .filter_map(|(own, given)| {
            let (asked, given) = (number(own)?, number(given)?);
            let port = own.get("port").and_then(Value::as_i64).unwrap_or_default();
            (asked != given).then(|| format!("{given} instead of the node port {asked} of port {port}"))
        })
        .collect();
    let health =
        |service: &VirtualObject| service.pointer("/spec").and_then(|spec| spec.get(HEALTH_PORT)?.as_i64());
    if let (Some(asked), Some(given)) = (health(own), health(given))
        && asked != given
    {
        replaced.push(format!("{given} instead of the health check node port {asked}"));
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(spec: &Value) -> VirtualObject {
        VirtualObject::from_json(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    #[test]
    fn what_was_replaced_is_named_with_what_there_was() {
        let own = service(&json!({
            "clusterIPs": ["10.0.0.1", "fd00::1"], "healthCheckNodePort": 30_003,
            "ports": [{"port": 80, "nodePort": 30_001}, {"port": 81, "nodePort": 30_002}],
        }));
        let given = service(&json!({
            "clusterIPs": ["10.0.0.1", "fd00::9"], "healthCheckNodePort": 31_003,
            "ports": [{"port": 80, "nodePort": 30_001}, {"port": 81, "nodePort": 31_002}],
        }));
        assert_eq!(addresses(&own, &given), ["fd00::9 instead of the address fd00::1"]);
        let expected = [
            "31002 instead of the node port 30002 of port 81",
            "31003 instead of the health check node port 30003",
        ];
        assert_eq!(ports(&own, &given), expected);
        assert!(addresses(&own, &own).is_empty() && ports(&own, &own).is_empty());
    }
}
