//! Services: addresses and node ports from ranges, and what may change about them.

use anyhow::Result;
use serde_json::{Value, json};

use super::case::{Step, delete, get, merge, post, put, same, strategic};

fn service(name: &str, more: Value) -> Step {
    let mut spec = json!({"selector": {"app": "none"}, "ports": [{"port": 80}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    post("services", json!({"metadata": {"name": name}, "spec": spec}))
}

#[test]
fn a_service_gets_an_address() -> Result<()> {
    same(&[service("a", json!({})), service("b", json!({})), get("services/a")])
}

#[test]
fn an_address_that_is_taken_or_outside_is_refused() -> Result<()> {
    same(&[
        service("a", json!({})),
        service("b", json!({"clusterIP": "{{0/spec/clusterIP}}"})),
        service("c", json!({"clusterIP": "192.0.2.1"})),
        service("d", json!({"clusterIP": "nonsense"})),
        delete("services/a", Value::Null),
        service("e", json!({"clusterIP": "{{0/spec/clusterIP}}"})),
    ])
}

#[test]
fn an_address_stays_as_it_is() -> Result<()> {
    let named = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
    same(&[
        service("a", json!({})),
        merge("services/a", json!({"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}})),
        merge("services/a", json!({"spec": {"clusterIP": "10.96.9.9"}})),
        merge("services/a", json!({"spec": {"clusterIP": null, "clusterIPs": null}})),
        merge("services/a", json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})),
        put("services/a", named(json!({"selector": {"app": "other"}, "ports": [{"port": 81}]}))),
    ])
}

#[test]
fn a_service_without_an_address_needs_no_ports() -> Result<()> {
    same(&[
        service("a", json!({"clusterIP": "None"})),
        service("b", json!({"clusterIP": "None", "ports": []})),
        service("c", json!({"ports": []})),
        service("d", json!({"ports": [{"port": 80}, {"port": 81}]})),
        service("e", json!({"ports": [{"name": "x", "port": 80}, {"name": "x", "port": 81}]})),
        merge("services/a", json!({"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}})),
    ])
}

#[test]
fn an_address_is_given_up_and_taken_by_way_of_a_name() -> Result<()> {
    same(&[
        service("a", json!({})),
        merge("services/a", json!({"spec": {"type": "ExternalName", "externalName": "example.org"}})),
        service("b", json!({"clusterIP": "{{0/spec/clusterIP}}"})),
        merge("services/a", json!({"spec": {"type": "ClusterIP", "externalName": null}})),
        post(
            "services",
            json!({"metadata": {"name": "c"}, "spec": {"type": "ExternalName", "externalName": "example.org"}}),
        ),
    ])
}

#[test]
fn node_ports_come_and_go_with_the_type() -> Result<()> {
    same(&[
        service("a", json!({"type": "NodePort"})),
        merge("services/a", json!({"spec": {"type": "ClusterIP"}})),
        merge("services/a", json!({"spec": {"type": "NodePort"}}))
            .sees(&["/spec/type", "/spec/externalTrafficPolicy"]),
        service("b", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]})),
    ])
}

#[test]
fn ports_are_merged_by_their_number() -> Result<()> {
    same(&[
        service("a", json!({"ports": [{"name": "x", "port": 80}]})),
        strategic("services/a", json!({"spec": {"ports": [{"name": "y", "port": 81}]}}))
            .sees(&["/spec/ports"]),
        strategic("services/a", json!({"spec": {"ports": [{"port": 80, "name": "z"}]}}))
            .sees(&["/spec/ports"]),
        strategic("services/a", json!({"spec": {"ports": [{"port": 81, "$patch": "delete"}]}}))
            .sees(&["/spec/ports"]),
        strategic(
            "services/a",
            json!({"spec": {"ports": [{"$patch": "replace"}, {"name": "q", "port": 90}]}}),
        )
        .sees(&["/spec/ports"]),
        strategic("services/a", json!({"spec": {"selector": {"$patch": "replace", "app": "new"}}}))
            .sees(&["/spec/selector"]),
    ])
}

#[test]
fn the_status_of_a_service_is_written_apart() -> Result<()> {
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    same(&[
        service("a", json!({"type": "LoadBalancer"})).sees(&[
            "/status",
            "/spec/type",
            "/spec/allocateLoadBalancerNodePorts",
        ]),
        merge("services/a", json!({"status": ingress})).sees(&["/status"]),
        merge(
            "services/a/status",
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}}),
        )
        .sees(&["/status"]),
        merge("services/a/status", json!({"spec": {"selector": {"app": "new"}}}))
            .sees(&["/spec/selector", "/status"]),
        merge("services/a/status", json!({"metadata": {"uid": "another"}, "status": {}})),
    ])
}
