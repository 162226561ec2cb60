//! Where kinds that many clusters have name other objects and select pods, whoever maps them: a declaration or a plugin
//! that leaves one out opens nothing.
//!
//! The fields are those of the kinds' own documentation, in any version. A route's parent is missing on purpose: the
//! listener of a `Gateway` says itself which namespaces may attach to it.

use crate::object::ResourceType;
use crate::references::Reference;
use crate::selectors::{Form, Missing, Selector};

const SECRET: &str = "v1/Secret";
const SERVICE: &str = "v1/Service";
const CONFIG_MAP: &str = "v1/ConfigMap";
const CLAIM: &str = "v1/PersistentVolumeClaim";
const CONTENT: &str = "snapshot.storage.k8s.io/v1/VolumeSnapshotContent";

/// A place that names an object: group, kind, path, the kind named there, and whether a `namespace` stands beside it.
type Place = (&'static str, &'static str, &'static str, &'static str, bool);

const GATEWAY: &str = "gateway.networking.k8s.io";
const MONITORING: &str = "monitoring.coreos.com";
/// Kinds of routes of the Gateway API.
const ROUTES: &[&str] = &["GRPCRoute", "HTTPRoute", "TCPRoute", "TLSRoute", "UDPRoute"];
/// Where every route names what it leads to.
const IN_ROUTES: &[&str] = &[
    "/spec/rules/*/backendRefs/*/name",
    "/spec/rules/*/backendRefs/*/filters/*/requestMirror/backendRef/name",
    "/spec/rules/*/filters/*/requestMirror/backendRef/name",
];
/// Kinds that say what Prometheus reads, and where each has its endpoints.
const MONITORS: &[(&str, &str)] =
    &[("PodMonitor", "/spec/podMetricsEndpoints/*"), ("ServiceMonitor", "/spec/endpoints/*")];
/// Where an endpoint of these names what it authenticates with.
const IN_MONITORS: &[(&str, &str)] = &[
    ("authorization/credentials/name", SECRET),
    ("basicAuth/password/name", SECRET),
    ("basicAuth/username/name", SECRET),
    ("bearerTokenSecret/name", SECRET),
    ("oauth2/clientId/configMap/name", CONFIG_MAP),
    ("oauth2/clientId/secret/name", SECRET),
    ("oauth2/clientSecret/name", SECRET),
    ("tlsConfig/ca/configMap/name", CONFIG_MAP),
    ("tlsConfig/ca/secret/name", SECRET),
    ("tlsConfig/cert/configMap/name", CONFIG_MAP),
    ("tlsConfig/cert/secret/name", SECRET),
    ("tlsConfig/keySecret/name", SECRET),
];
const PLACES: &[Place] = &[
    ("cert-manager.io", "Certificate", "/spec/keystores/jks/passwordSecretRef/name", SECRET, false),
    ("cert-manager.io", "Certificate", "/spec/keystores/pkcs12/passwordSecretRef/name", SECRET, false),
    ("cert-manager.io", "Certificate", "/spec/secretName", SECRET, false),
    (GATEWAY, "Gateway", "/spec/listeners/*/tls/certificateRefs/*/name", SECRET, true),
    ("networking.k8s.io", "Ingress", "/spec/defaultBackend/service/name", SERVICE, false),
    ("networking.k8s.io", "Ingress", "/spec/rules/*/http/paths/*/backend/service/name", SERVICE, false),
    ("networking.k8s.io", "Ingress", "/spec/tls/*/secretName", SECRET, false),
    ("snapshot.storage.k8s.io", "VolumeSnapshot", "/spec/source/persistentVolumeClaimName", CLAIM, false),
    ("snapshot.storage.k8s.io", "VolumeSnapshot", "/spec/source/volumeSnapshotContentName", CONTENT, false),
];
/// Label selectors: group, kind, path, and what a missing one means.
const SELECTORS: &[(&str, &str, &str, Form, Missing)] = &[
    (MONITORING, "PodMonitor", "/spec/namespaceSelector", Form::Namespaces, Missing::NoPods),
    (MONITORING, "PodMonitor", "/spec/selector", Form::LabelSelector, Missing::AllPods),
    (MONITORING, "ServiceMonitor", "/spec/namespaceSelector", Form::Namespaces, Missing::NoPods),
    (MONITORING, "ServiceMonitor", "/spec/selector", Form::LabelSelector, Missing::AllPods),
    ("networking.k8s.io", "NetworkPolicy", "/spec/podSelector", Form::LabelSelector, Missing::AllPods),
    ("policy", "PodDisruptionBudget", "/spec/selector", Form::LabelSelector, Missing::NoPods),
];

/// Groups whose kinds open a namespace to others, or let a controller of the host act with more permissions than the
/// tenant's: who writes one runs pods, installs charts, holds locks or changes the traffic of others.
const POWERFUL_GROUPS: &[&str] = &[
    "acme.cert-manager.io",
    "addons.cluster.x-k8s.io",
    "apps.kruise.io",
    "argoproj.io",
    "batch.volcano.sh",
    "cluster.x-k8s.io",
    "coordination.k8s.io",
    "extensions.istio.io",
    "external-secrets.io",
    "helm.cattle.io",
    "helm.toolkit.fluxcd.io",
    "jobset.x-k8s.io",
    "keda.sh",
    "kubeflow.org",
    "kubevirt.io",
    "kustomize.toolkit.fluxcd.io",
    "kyverno.io",
    "leaderworkerset.x-k8s.io",
    "multicluster.x-k8s.io",
    "networking.istio.io",
    "operators.coreos.com",
    "pkg.crossplane.io",
    "ray.io",
    "resource.k8s.io",
    "security.istio.io",
    "serving.knative.dev",
    "sparkoperator.k8s.io",
    "tekton.dev",
    "templates.gatekeeper.sh",
];
/// Single kinds of that sort.
const POWERFUL_KINDS: &[(&str, &str)] = &[
    ("discovery.k8s.io", "EndpointSlice"),
    (GATEWAY, "ReferenceGrant"),
    (MONITORING, "Alertmanager"),
    (MONITORING, "Prometheus"),
    (MONITORING, "PrometheusAgent"),
    (MONITORING, "ThanosRuler"),
];

/// Where objects of this kind name others.
pub fn references(resource: &ResourceType) -> Vec<Reference> {
    let (group, kind) = (&*resource.group, &*resource.kind);
    let of_kind = |place: &&Place| place.0 == group && place.1 == kind;
    let single =
        PLACES.iter().filter(of_kind).map(|(_, _, path, target, beside)| reference(path, target, *beside));
    let is_route = group == GATEWAY && ROUTES.contains(&kind);
    let routes = IN_ROUTES.iter().filter(|_| is_route).map(|path| reference(path, SERVICE, true));
    let monitors = MONITORS.iter().filter(|(monitor, _)| group == MONITORING && *monitor == kind);
    let monitors = monitors.flat_map(|(_, endpoints)| {
        IN_MONITORS.iter().map(move |(path, target)| reference(&format!("{endpoints}/{path}"), target, false))
    });
    single.chain(routes).chain(monitors).collect()
}

/// Where objects of this kind select pods.
pub fn selectors(resource: &ResourceType) -> Vec<Selector> {
    let of_kind = SELECTORS.iter().filter(|known| known.0 == resource.group && known.1 == resource.kind);
    of_kind
        .map(|(_, _, path, form, missing)| Selector {
            path: (*path).to_owned(),
            form: *form,
            missing: *missing,
        })
        .collect()
}

/// Whether who writes objects of this kind acts for others, or with permissions of others: mapping it needs the operator's
/// word.
pub fn acts_for_others(resource: &ResourceType) -> bool {
    let (group, kind) = (&*resource.group, &*resource.kind);
    let is_built_in = (group, kind) == ("discovery.k8s.io", "EndpointSlice") && resource.version == "v1";
    !is_built_in && (POWERFUL_GROUPS.contains(&group) || POWERFUL_KINDS.contains(&(group, kind)))
}

fn reference(path: &str, kind: &str, has_namespace: bool) -> Reference {
    let namespace_field = has_namespace.then(|| "namespace".to_owned());
    Reference { namespace_field, ..Reference::new(path, kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &'static str, kind: &'static str) -> ResourceType {
        ResourceType { group: group.into(), ..ResourceType::core(kind, "plural") }
    }

    #[test]
    fn a_kind_is_known_by_group_and_name_in_any_version() {
        let route = ResourceType { version: "v9".into(), ..resource(GATEWAY, "HTTPRoute") };
        assert_eq!(references(&route).len(), 3);
        assert!(references(&resource("example.com", "HTTPRoute")).is_empty());
        assert_eq!(references(&resource(MONITORING, "PodMonitor")).len(), IN_MONITORS.len());
        assert_eq!(selectors(&resource("policy", "PodDisruptionBudget")).len(), 1);
        assert!(selectors(&resource("example.com", "PodDisruptionBudget")).is_empty());
    }

    #[test]
    fn kinds_that_act_for_others_need_a_word_and_others_do_not() {
        for (group, kind) in [
            ("argoproj.io", "Application"),
            ("argoproj.io", "Workflow"),
            (GATEWAY, "ReferenceGrant"),
            ("networking.istio.io", "EnvoyFilter"),
            ("helm.toolkit.fluxcd.io", "HelmRelease"),
            ("kustomize.toolkit.fluxcd.io", "Kustomization"),
            ("coordination.k8s.io", "Lease"),
            ("resource.k8s.io", "ResourceClaim"),
            ("keda.sh", "ScaledJob"),
            ("serving.knative.dev", "Service"),
        ] {
            assert!(acts_for_others(&resource(group, kind)), "{group} {kind}");
        }
        for (group, kind) in [
            ("", "Service"),
            ("networking.k8s.io", "Ingress"),
            (GATEWAY, "HTTPRoute"),
            ("cert-manager.io", "Certificate"),
            ("example.com", "Lease"),
            ("discovery.k8s.io", "EndpointSlice"),
        ] {
            assert!(!acts_for_others(&resource(group, kind)), "{group} {kind}");
        }
        let mirror =
            ResourceType { version: "v1beta1".into(), ..resource("discovery.k8s.io", "EndpointSlice") };
        assert!(acts_for_others(&mirror), "another version than the built-in one is another mapping");
    }
}
