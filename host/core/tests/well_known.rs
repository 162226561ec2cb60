//! Kinds that many clusters have are judged by what they mean, whatever their declaration or plugin leaves out.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;
#[expect(dead_code, reason = "shared with the laws of the guard, which use more of it")]
#[path = "support/lies.rs"]
mod lies;
#[path = "support/silent.rs"]
mod silent;

use std::sync::Arc;

use serde_json::{Value, json};
use weft_core::mapper::Mapper;
use weft_core::object::{HostObject, ResourceType, VirtualObject};
use weft_core::translate;
use weft_core::verdict::Verdict;

use cases::World;
use lies::{Lie, behind};

/// A declaration that says nothing of the kind.
fn silent(group: &'static str, kind: &'static str) -> Arc<dyn Mapper> {
    silent::silent(ResourceType { group: group.into(), ..ResourceType::core(kind, "plural") })
}

fn translated(mapper: &dyn Mapper, kind: &str, spec: &Value) -> Verdict<HostObject> {
    let object = json!({"apiVersion": "a/v1", "kind": kind, "metadata": {"name": "a", "namespace": "shop", "uid": "u"}, "spec": spec});
    translate::to_host(
        &World::new(Vec::new()).ctx(),
        mapper,
        &VirtualObject::from_json(object).expect("it is an object"),
    )
}

const GATEWAY: &str = "gateway.networking.k8s.io";
const MONITORING: &str = "monitoring.coreos.com";

/// A place of a kind that names an object, and a spec that has `name` there.
fn places(name: &Value) -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let backend = json!({"service": {"name": name}});
    let route = json!({"rules": [{"backendRefs": [{"name": name}]}]});
    let mirror = json!({"rules": [{"filters": [{"requestMirror": {"backendRef": {"name": name}}}]}]});
    let selector = json!({"matchLabels": {"weft.dev/cluster": "my-vcluster"}});
    let monitor = json!({"selector": selector, "endpoints": [{"basicAuth": {"password": {"name": name}}}]});
    vec![
        (
            "networking.k8s.io",
            "Ingress",
            "/spec/defaultBackend/service/name",
            json!({"defaultBackend": backend}),
        ),
        ("networking.k8s.io", "Ingress", "/spec/tls/0/secretName", json!({"tls": [{"secretName": name}]})),
        (GATEWAY, "HTTPRoute", "/spec/rules/0/backendRefs/0/name", route.clone()),
        (GATEWAY, "TLSRoute", "/spec/rules/0/backendRefs/0/name", route),
        (GATEWAY, "GRPCRoute", "/spec/rules/0/filters/0/requestMirror/backendRef/name", mirror),
        (
            GATEWAY,
            "Gateway",
            "/spec/listeners/0/tls/certificateRefs/0/name",
            json!({"listeners": [{"tls": {"certificateRefs": [{"name": name}]}}]}),
        ),
        (
            "snapshot.storage.k8s.io",
            "VolumeSnapshot",
            "/spec/source/persistentVolumeClaimName",
            json!({"source": {"persistentVolumeClaimName": name}}),
        ),
        ("cert-manager.io", "Certificate", "/spec/secretName", json!({"secretName": name})),
        (MONITORING, "ServiceMonitor", "/spec/endpoints/0/basicAuth/password/name", monitor),
    ]
}

#[test]
fn names_are_translated_though_nothing_is_declared() {
    for (group, kind, at, spec) in places(&json!("b")) {
        let host = translated(silent(group, kind).as_ref(), kind, &spec);
        let host = host.unwrap_or_else(|hold| panic!("{kind}: {hold:?}"));
        assert_eq!(host.text(at), Some("b-x-shop-x-my-vcluster"), "{kind} {at}");
    }
}

#[test]
fn a_plugin_names_nothing_of_others_there() {
    for ((group, kind, at, good), (.., bad)) in
        places(&json!("b")).into_iter().zip(places(&json!("of-another")))
    {
        let chain = behind(silent(group, kind), Lie::Merge(json!({"spec": bad})), "/spec");
        assert!(translated(&chain, kind, &good).is_err(), "{kind} {at}");
    }
}

#[test]
fn a_route_leads_to_no_other_namespace() {
    let route =
        json!({"rules": [{"backendRefs": [{"name": "b-x-shop-x-my-vcluster", "namespace": "team-b"}]}]});
    let chain = behind(silent(GATEWAY, "HTTPRoute"), Lie::Merge(json!({"spec": route})), "/spec");
    assert!(translated(&chain, "HTTPRoute", &json!({})).is_err());
}

#[test]
fn a_monitor_reads_what_is_this_virtual_clusters_and_in_its_namespace() {
    let mapper = silent(MONITORING, "ServiceMonitor");
    let field = |spec: &Value| {
        let verdict = translated(mapper.as_ref(), "ServiceMonitor", spec);
        verdict.err().and_then(|hold| hold.problem().field.clone())
    };
    let scoped = json!({"matchLabels": {"weft.dev/cluster": "my-vcluster"}});
    assert_eq!(field(&json!({"selector": scoped})), None);
    assert_eq!(field(&json!({"selector": scoped, "namespaceSelector": {}})), None);
    assert_eq!(field(&json!({})).as_deref(), Some("spec.selector"));
    assert_eq!(field(&json!({"selector": {}})).as_deref(), Some("spec.selector"));
    for namespaces in [json!({"any": true}), json!({"matchNames": ["team-b"]}), json!("team-b")] {
        let spec = json!({"selector": scoped, "namespaceSelector": namespaces});
        assert_eq!(field(&spec).as_deref(), Some("spec.namespaceSelector"), "{namespaces}");
    }
}
