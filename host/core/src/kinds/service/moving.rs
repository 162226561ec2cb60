//! Moves a Service to other addresses without deleting it: to ExternalName and back.
//!
//! The API lets nobody change an address, but it gives addresses up and takes new ones where the type
//! changes from and to ExternalName. What the way out clears is remembered in an annotation, so that
//! whoever finds a Service halfway can finish the move, or give the Service back what it had.

use serde_json::{Value, json};

use super::allocation::{self, ADDRESSES, HEALTH_PORT};
use crate::change::Change;
use crate::diff;
use crate::keys::{MOVING, MOVING_NAME};
use crate::object::{Fields, HostObject, Object, VirtualObject};

/// What the API demands to be cleared, or clears itself, with the change to ExternalName.
const REMEMBERED: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerSourceRanges",
    "ports",
    "type",
];

/// The patches, in order, that give the virtual Service `current` these addresses; none when it has them.
pub fn move_to(current: &VirtualObject, cluster_ips: &[String]) -> Vec<Change> {
    virtual_changes(&at(current, cluster_ips), current)
}

/// A new Service with what such a move asks the server for: whether it gives that is to be known before `current` gives up its
/// own. None where nothing has to move.
pub fn trial_of_move(current: &VirtualObject, cluster_ips: &[String]) -> Option<VirtualObject> {
    trial(&at(current, cluster_ips), current)
}

/// The Service as it is with these addresses.
fn at(current: &VirtualObject, cluster_ips: &[String]) -> VirtualObject {
    let mut desired = current.clone();
    if let Some(remembered) = remembered(current) {
        restore(desired.spec_mut(), remembered);
    } else if allocation::is_external_name(current) {
        desired.spec_mut().insert("type".to_owned(), "ClusterIP".into());
        desired.spec_mut().remove("externalName");
    }
    forget(&mut desired);
    if allocation::addresses(&desired) != cluster_ips {
        allocation::set_addresses(desired.spec_mut(), cluster_ips);
        fit_policy(desired.spec_mut(), cluster_ips.len());
    }
    desired
}

/// A new Service with what `desired` has and `current` has not, of addresses and ports: whether the server gives them is to be
/// known before the Service gives up its own. None where it does not.
pub(super) fn trial(desired: &VirtualObject, current: &VirtualObject) -> Option<VirtualObject> {
    if !must_move(desired, current) {
        return None;
    }
    let spec = desired.pointer("/spec")?.as_object()?.iter();
    let mut spec: Fields = spec
        .filter(|(field, _)| REMEMBERED.contains(&field.as_str()) && *field != "externalName")
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let own = allocation::addresses(current);
    let new: Vec<String> =
        allocation::addresses(desired).into_iter().filter(|address| !own.contains(address)).collect();
    for field in ADDRESSES {
        spec.remove(*field);
    }
    if !new.is_empty() {
        allocation::set_addresses(&mut spec, &new);
        fit_policy(&mut spec, new.len());
    }
    allocation::without_ports_of(current, &mut spec);
    let metadata = json!({"generateName": "weft-trial-", "namespace": desired.namespace()});
    VirtualObject::from_json(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
    )
}

/// The patches, in order, that bring `current` to `desired`, by way of ExternalName where the API wants it.
pub(super) fn virtual_changes(desired: &VirtualObject, current: &VirtualObject) -> Vec<Change> {
    if !must_move(desired, current) {
        return diff::exact_changes(desired, current)
            .into_iter()
            .map(|change| guarded(change, current))
            .collect();
    }
    let mut halfway = halfway(current);
    halfway.annotations_mut().insert(MOVING.to_owned(), memory(current).into());
    let there = diff::exact_changes(&halfway, current);
    if let Some(balancer) = halfway.pointer_mut("/status/loadBalancer") {
        // The server forgets the load balancer's addresses on the way.
        *balancer = json!({});
    }
    // Named, so that the way back removes our annotation alone and none that came in between.
    let mut desired = desired.clone();
    desired.annotations_mut();
    let back = diff::exact_changes(&desired, &halfway);
    there.into_iter().map(|change| guarded(change, current)).chain(back).collect()
}

/// The same for a host object; nothing is remembered there, as the virtual object has everything.
pub(super) fn host_changes(desired: &HostObject, current: &HostObject) -> Vec<Change> {
    let halfway = halfway(current);
    let mut wanted = current.clone();
    let spec = desired.pointer("/spec").cloned().unwrap_or_else(|| json!({}));
    wanted.fields_mut().insert("spec".to_owned(), spec);
    let patch = |from: &HostObject, to: &HostObject| {
        diff::exact(from.pointer("/spec"), to.pointer("/spec"))
            .map(|spec| Change::merge(json!({"spec": spec})))
    };
    patch(current, &halfway).into_iter().chain(patch(&halfway, &wanted)).collect()
}

/// The patches that give a Service what it had, if it was left halfway.
pub fn move_back(halfway: &VirtualObject) -> Vec<Change> {
    let Some(remembered) = remembered(halfway) else { return Vec::new() };
    let mut desired = halfway.clone();
    restore(desired.spec_mut(), remembered);
    forget(&mut desired);
    virtual_changes(&desired, halfway)
}

/// What a Service that was left halfway had.
pub(super) fn remembered(object: &VirtualObject) -> Option<Fields> {
    let halfway =
        allocation::is_external_name(object) && object.text("/spec/externalName") == Some(MOVING_NAME);
    let memory: Fields = serde_json::from_str(object.annotation(MOVING).filter(|_| halfway)?).ok()?;
    let kind = memory.get("type").and_then(Value::as_str);
    let is_ours = matches!(kind, Some("ClusterIP" | "NodePort" | "LoadBalancer"));
    // The tenant can write this annotation: nothing but these fields is taken from it.
    is_ours.then(|| memory.into_iter().filter(|(field, _)| REMEMBERED.contains(&field.as_str())).collect())
}

/// Puts back what [`remembered`] found.
pub(super) fn restore(spec: &mut Fields, remembered: Fields) {
    spec.remove("externalName");
    spec.extend(remembered);
}

/// Removes what [`remembered`] reads.
pub(super) fn forget(object: &mut VirtualObject) {
    if object.annotation(MOVING).is_some() {
        object.annotations_mut().remove(MOVING);
    }
}

/// Whether `desired` has other values in fields that the API lets nobody change.
fn must_move(desired: &VirtualObject, current: &VirtualObject) -> bool {
    let moved = |field: &str| {
        let pointer = format!("/spec/{field}");
        current.pointer(&pointer).is_some_and(|old| desired.pointer(&pointer).is_some_and(|new| new != old))
    };
    let both = !allocation::is_external_name(desired) && !allocation::is_external_name(current);
    both && (ADDRESSES.iter().any(|field| moved(field)) || moved(HEALTH_PORT))
}

/// `current` as an ExternalName, without whatever that type cannot have.
fn halfway<S>(current: &Object<S>) -> Object<S> {
    let mut halfway = current.clone();
    let spec = halfway.spec_mut();
    for field in REMEMBERED.iter().filter(|field| **field != "ports") {
        spec.remove(*field);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    spec.insert("type".to_owned(), "ExternalName".into());
    spec.insert("externalName".to_owned(), MOVING_NAME.into());
    halfway
}

fn memory(current: &VirtualObject) -> String {
    let spec = current.pointer("/spec").and_then(Value::as_object).into_iter().flatten();
    let kept = spec.filter(|(field, _)| REMEMBERED.contains(&field.as_str()));
    Value::Object(kept.map(|(field, value)| (field.clone(), value.clone())).collect()).to_string()
}

/// Lets the server refuse the patch if somebody else wrote first: it replaces whole lists.
fn guarded(mut change: Change, current: &VirtualObject) -> Change {
    if change.subresource.is_none() {
        change.only_for_version_of(current);
    }
    change
}

/// The policy that goes with this number of addresses.
fn fit_policy(spec: &mut Fields, addresses: usize) {
    let policy = spec.get("ipFamilyPolicy").and_then(Value::as_str);
    match (addresses, policy) {
        (1, _) => spec.insert("ipFamilyPolicy".to_owned(), "SingleStack".into()),
        (_, None | Some("SingleStack")) => spec.insert("ipFamilyPolicy".to_owned(), "PreferDualStack".into()),
        _ => None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: &Value) -> VirtualObject {
        let metadata = json!({"name": "web", "namespace": "shop", "uid": "u"});
        VirtualObject::from_json(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn spec(address: &str, node_port: u16, health_port: u16) -> Value {
        json!({
            "type": "LoadBalancer", "clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Local", "healthCheckNodePort": health_port,
            "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": node_port}, {"port": 81, "nodePort": 30_001}],
        })
    }

    #[test]
    fn what_is_tried_is_a_new_service_with_what_the_service_does_not_have() {
        let current = service(&spec("10.0.0.1", 30_000, 30_002));
        let tried = trial(&service(&spec("10.0.0.2", 31_000, 30_002)), &current).unwrap();
        assert_eq!((tried.name(), tried.namespace(), tried.uid()), ("", "shop", ""));
        let expected = json!({
            "type": "LoadBalancer", "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Local",
            "ports": [{"port": 80, "nodePort": 31_000}, {"port": 81}],
        });
        assert_eq!(tried.pointer("/spec"), Some(&expected));
        let by_port = trial(&service(&spec("10.0.0.1", 30_000, 31_002)), &current).unwrap();
        assert_eq!(by_port.pointer("/spec/clusterIPs"), None, "it has the address");
        assert_eq!(by_port.pointer("/spec/healthCheckNodePort"), Some(&json!(31_002)));
    }

    #[test]
    fn of_two_addresses_the_new_one_is_tried() {
        let both = |second: &str| {
            json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", second],
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]})
        };
        let tried = trial(&service(&both("fd00::2")), &service(&both("fd00::1"))).unwrap();
        assert_eq!(tried.pointer("/spec/clusterIPs"), Some(&json!(["fd00::2"])));
        assert_eq!(tried.text("/spec/ipFamilyPolicy"), Some("SingleStack"));
    }

    #[test]
    fn without_a_move_nothing_is_tried() {
        let current = service(&spec("10.0.0.1", 30_000, 30_002));
        assert_eq!(trial(&service(&spec("10.0.0.1", 31_000, 30_002)), &current), None);
        let moved = trial_of_move(&current, &["10.0.0.9".to_owned()]).unwrap();
        assert_eq!(moved.pointer("/spec/clusterIP"), Some(&json!("10.0.0.9")));
        assert_eq!(trial_of_move(&current, &["10.0.0.1".to_owned()]), None);
    }
}
