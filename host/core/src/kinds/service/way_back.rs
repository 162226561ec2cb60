//! What of the host's addresses and ports a virtual Service does without, where its server refuses some.
//!
//! It keeps its own instead, though nobody answers there until both sides agree; a Service that was left halfway of a move gets
//! back what it had. Where even that is refused, because others have it by now, the server allocates.

use std::borrow::Cow;

use serde_json::Value;

use super::allocation::{self, ADDRESSES, HEALTH_PORT};
use super::moving;
use crate::object::{Fields, VirtualObject};
use crate::refused;

/// What fails where the virtual server does not give what the host has given.
pub(super) const MUST_AGREE: &str = "take the host's addresses and ports, which must lie in the virtual cluster's ranges \
                                     (--service-cluster-ip-range, --service-node-port-range) and be free there, for";

/// `desired` with what `current` has, or had before its move, in place of the fields `refused`. A taken health check port is
/// refused by a failure that names none.
pub(super) fn relax(
    desired: &VirtualObject,
    current: &VirtualObject,
    refused: &[String],
) -> Option<VirtualObject> {
    let remembered = moving::remembered(current);
    let is_halfway = remembered.is_some();
    let own = match (remembered, current.pointer("/spec")) {
        (Some(remembered), _) => Cow::Owned(remembered),
        (None, Some(Value::Object(spec))) => Cow::Borrowed(spec),
        _ => return None,
    };
    let own = Own { spec: &own, is_halfway };
    let mut relaxed = desired.clone();
    if refused.is_empty() {
        own.keep(relaxed.spec_mut(), &[HEALTH_PORT]);
    }
    for field in refused {
        let name = field.strip_prefix("spec.").unwrap_or(field);
        if let Some(index) = allocation::node_port_index(name) {
            own.keep_node_port(relaxed.spec_mut(), index);
        } else if name == HEALTH_PORT {
            own.keep(relaxed.spec_mut(), &[HEALTH_PORT]);
        } else if allocation::is_address(name) {
            own.keep(relaxed.spec_mut(), &[ADDRESSES, &["ipFamilyPolicy"]].concat());
        } else if !is_halfway {
            relaxed = refused::kept(&relaxed, current, std::slice::from_ref(field)).unwrap_or(relaxed);
        }
    }
    (relaxed != *desired).then_some(relaxed)
}

/// What the Service has of its own.
struct Own<'a> {
    spec: &'a Fields,
    /// Whether it has given that up.
    is_halfway: bool,
}

impl Own<'_> {
    /// Puts these fields in place of what `spec` asks for, or leaves them to the server where that is what it has refused.
    fn keep(&self, spec: &mut Fields, fields: &[&str]) {
        let is_own = fields.iter().all(|field| spec.get(*field) == self.spec.get(*field));
        let is_asked = fields.iter().any(|field| spec.contains_key(*field));
        if !is_asked || (is_own && !self.is_halfway) {
            return;
        }
        for field in fields {
            match self.spec.get(*field).filter(|_| !is_own) {
                Some(value) => spec.insert((*field).to_owned(), value.clone()),
                None => spec.remove(*field),
            };
        }
    }

    /// The same for the port of nodes of one of its ports.
    fn keep_node_port(&self, spec: &mut Fields, index: usize) {
        let own = self.spec.get("ports").and_then(|ports| ports.get(index)?.get("nodePort"));
        let port = spec.get_mut("ports").and_then(|ports| ports.get_mut(index));
        let Some(port) = port.and_then(Value::as_object_mut) else { return };
        match (port.get("nodePort"), own) {
            (None, _) => {}
            (Some(asked), Some(own)) if asked != own => drop(port.insert("nodePort".to_owned(), own.clone())),
            (Some(_), _) => drop(port.remove("nodePort")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{MOVING, MOVING_NAME};
    use serde_json::json;

    fn spec(address: &str, node_port: u16, health_port: u16) -> Value {
        json!({
            "type": "LoadBalancer", "clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "healthCheckNodePort": health_port,
            "ports": [{"port": 80, "nodePort": 30_001}, {"port": 81, "nodePort": node_port}],
        })
    }

    fn service(spec: &Value) -> VirtualObject {
        VirtualObject::from_json(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}))
            .unwrap()
    }

    /// The Service left halfway, when it had this.
    fn halfway(had: &Value) -> VirtualObject {
        VirtualObject::from_json(json!({
            "metadata": {"name": "web", "namespace": "shop", "annotations": {MOVING: had.to_string()}},
            "spec": {"type": "ExternalName", "externalName": MOVING_NAME, "ports": [{"port": 80}, {"port": 81}]},
        }))
        .unwrap()
    }

    /// The spec after these fields were refused.
    fn relaxed(desired: &Value, current: &VirtualObject, refused: &[&str]) -> Option<Value> {
        let refused: Vec<String> = refused.iter().map(|field| (*field).to_owned()).collect();
        relax(&service(desired), current, &refused).and_then(|object| object.pointer("/spec").cloned())
    }

    #[test]
    fn what_is_refused_stays_as_the_service_has_it_or_had_it_before_the_move() {
        let (own, of_host) = (spec("10.0.0.1", 30_002, 30_003), spec("10.97.0.9", 31_002, 31_003));
        for current in [service(&own), halfway(&own)] {
            let relaxed = |refused: &[&str]| relaxed(&of_host, &current, refused);
            assert_eq!(relaxed(&["spec.clusterIPs[0]"]), Some(spec("10.0.0.1", 31_002, 31_003)));
            assert_eq!(relaxed(&["spec.ports[1].nodePort"]), Some(spec("10.97.0.9", 30_002, 31_003)));
            assert_eq!(relaxed(&["spec.healthCheckNodePort"]), Some(spec("10.97.0.9", 31_002, 30_003)));
            assert_eq!(relaxed(&[]), Some(spec("10.97.0.9", 31_002, 30_003)), "a failure names no field");
            assert_eq!(
                relaxed(&["spec.clusterIPs", "spec.ports[1].nodePort", "spec.healthCheckNodePort"]),
                Some(own.clone())
            );
            assert_eq!(relaxed(&["spec.selector"]), None);
        }
    }

    #[test]
    fn what_was_given_up_and_is_taken_by_now_is_left_to_the_server() {
        let own = spec("10.0.0.1", 30_002, 30_003);
        let relaxed = |refused: &[&str]| relaxed(&own, &halfway(&own), refused).unwrap();
        let address = relaxed(&["spec.clusterIPs"]);
        assert_eq!(
            (address.get("clusterIP"), address.get("ipFamilies"), &address["type"]),
            (None, None, &json!("LoadBalancer"))
        );
        assert_eq!(
            relaxed(&["spec.ports[1].nodePort"])["ports"],
            json!([{"port": 80, "nodePort": 30_001}, {"port": 81}])
        );
        assert_eq!(relaxed(&[]).get("healthCheckNodePort"), None);
        let refused = ["spec.clusterIPs".to_owned(), "spec.ports[1].nodePort".to_owned()];
        let left = relax(&service(&own), &halfway(&own), &refused).unwrap();
        assert_eq!(relax(&left, &halfway(&own), &refused), None, "it cannot do without more");
    }

    #[test]
    fn what_the_service_has_is_not_given_up_for_a_refusal() {
        let own = spec("10.0.0.1", 30_002, 30_003);
        assert_eq!(relaxed(&own, &service(&own), &["spec.clusterIPs", "spec.healthCheckNodePort"]), None);
    }
}
