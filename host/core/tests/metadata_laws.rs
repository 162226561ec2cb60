//! No key that controllers of the host obey gets there from a tenant or a plugin, and the tenant does not notice.
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "how many were tried is part of the result")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;
#[expect(dead_code, reason = "shared with the laws of the guard, which use more of it")]
#[path = "support/lies.rs"]
mod lies;

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::context::{Ctx, Facts};
use weft_core::host_controllers::keys;
use weft_core::labels;
use weft_core::mapper::Mapper;
use weft_core::object::{Fields, HostObject, VirtualObject};
use weft_core::plan::host_patches;
use weft_core::policy::metadata::{KeyPolicy, MetadataPolicy};
use weft_core::translate;
use weft_core::verdict::Verdict;

use cases::Case;
use lies::{Lie, behind, liar};

/// What has been used against hosts, or could be; written without the guard's own table.
const KNOWN: &[&str] = &[
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/inject",
    "istio.io/rev",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "linkerd.io/inject",
    "config.linkerd.io/proxy-image",
    "consul.hashicorp.com/connect-inject",
    "dapr.io/enabled",
    "k8s.v1.cni.cncf.io/networks",
    "cni.projectcalico.org/ipAddrs",
    "k8s.ovn.org/pod-networks",
    "io.cilium/lb-ipam-ips",
    "lbipam.cilium.io/ips",
    "service.cilium.io/global",
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/address-pool",
    "service.beta.kubernetes.io/aws-load-balancer-type",
    "service.beta.kubernetes.io/azure-load-balancer-internal",
    "service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type",
    "service.kubernetes.io/service-proxy-name",
    "cloud.google.com/neg",
    "networking.gke.io/load-balancer-type",
    "load-balancer.hetzner.cloud/network-zone",
    "external-dns.alpha.kubernetes.io/hostname",
    "cert-manager.io/cluster-issuer",
    "replicator.v1.mittwald.de/replicate-from",
    "reflector.v1.k8s.emberstack.com/reflection-auto-enabled",
    "vault.hashicorp.com/agent-inject",
    "vault.security.banzaicloud.io/vault-role",
    "iam.amazonaws.com/role",
    "azure.workload.identity/use",
    "aadpodidbinding",
    "policies.kyverno.io/exempt",
    "cleanup.kyverno.io/ttl",
    "admission.gatekeeper.sh/ignore",
    "admission.stackrox.io/break-glass",
    "openshift.io/scc",
    "cluster-autoscaler.kubernetes.io/safe-to-evict",
    "karpenter.sh/do-not-disrupt",
    "descheduler.alpha.kubernetes.io/evict",
    "keda.sh/paused",
    "kueue.x-k8s.io/queue-name",
    "argocd.argoproj.io/tracking-id",
    "meta.helm.sh/release-name",
    "kustomize.toolkit.fluxcd.io/prune",
    "objectset.rio.cattle.io/hash",
    "kapp.k14s.io/app",
    "applyset.kubernetes.io/part-of",
    "addonmanager.kubernetes.io/mode",
    "reloader.stakater.com/auto",
    "pre.hook.backup.velero.io/command",
    "ad.datadoghq.com/web.checks",
    "instrumentation.opentelemetry.io/inject-java",
    "tailscale.com/expose",
    "kubernetes.io/config.mirror",
    "container.apparmor.security.beta.kubernetes.io/web",
    "seccomp.security.alpha.kubernetes.io/pod",
    "pod-security.kubernetes.io/exempt",
    "traefik.ingress.kubernetes.io/service.serversscheme",
];
/// A case of each kind whose objects have the tenant's keys.
const CASES: &[&str] =
    &["pod/plain", "service/cluster_ip", "endpoints/without_selector", "endpoint_slice/without_selector"];
const MAPS: [&str; 2] = ["labels", "annotations"];

fn case(title: &str) -> &'static Case {
    cases::all().iter().find(|case| case.title == title).expect("there is such a case")
}

/// What the operator allows labels and annotations.
fn facts(case: &Case, metadata: MetadataPolicy) -> Facts {
    let mut facts = case.world.ctx().facts.clone();
    facts.policy.metadata = metadata;
    facts
}

/// `f` with the surroundings of the case in which controllers of the host are protected.
fn protected<T>(case: &Case, f: impl FnOnce(&Ctx<'_>) -> T) -> T {
    let facts = facts(case, MetadataPolicy::default());
    f(&Ctx { facts: &facts, ..case.world.ctx() })
}

/// Every entry of the table, in itself and below, and what is known to have been used.
fn denied_keys() -> BTreeSet<String> {
    let table = keys::groups().flat_map(|group| group.keys);
    let below = table.flat_map(|entry| [format!("{entry}/x"), format!("sub.{entry}/x-y_z.1")]);
    below.chain(KNOWN.iter().map(|key| (*key).to_owned())).collect()
}

fn with(source: &VirtualObject, map: &str, key: &str) -> VirtualObject {
    let mut source = source.clone();
    let mut metadata = source.metadata_mut().get(map).cloned().unwrap_or_else(|| json!({}));
    metadata[key] = "v1".into();
    source.metadata_mut().insert(map.to_owned(), metadata);
    source
}

fn keys_of(object: &HostObject) -> impl Iterator<Item = &str> {
    let maps = object.labels().into_iter().chain(object.annotations());
    maps.flatten().map(|(key, _)| key.as_str())
}

fn is_obeyed(object: &HostObject) -> bool {
    keys_of(object).any(|key| keys::obeyed_by(key).is_some() || KNOWN.contains(&key))
}

/// Whether the value stands on the host under an escaped key.
fn is_kept(object: &HostObject, map: &str) -> bool {
    let kept = object.pointer(&format!("/metadata/{map}")).and_then(Value::as_object);
    kept.into_iter().flatten().any(|(key, value)| labels::is_escaped(key) && value == "v1")
}

#[test]
fn no_denied_key_of_a_tenant_reaches_the_host_and_each_can_still_be_read_there() {
    let (mut tried, mut reached, mut lost) = (0, Vec::new(), Vec::new());
    for title in CASES {
        let case = case(title);
        for key in denied_keys() {
            for map in MAPS {
                let source = with(&case.source, map, &key);
                let host = protected(case, |ctx| translate::to_host(ctx, case.mapper.as_ref(), &source));
                let host = host.expect("a key is no reason to refuse an object");
                tried += 1;
                if is_obeyed(&host) {
                    reached.push(format!("{title} {map} {key}"));
                }
                if !is_kept(&host, map) {
                    lost.push(format!("{title} {map} {key}"));
                }
            }
        }
    }
    println!("{tried} objects with a denied key, {} reach the host with it", reached.len());
    assert!(tried > 1000, "{tried}");
    assert!(reached.is_empty() && lost.is_empty(), "reached: {reached:#?}\nlost: {lost:#?}");
}

#[test]
fn no_denied_key_of_an_extension_reaches_the_host_in_whatever_place_it_stands() {
    let (mut tried, mut reached) = (0, Vec::new());
    for title in CASES {
        let case = case(title);
        for key in denied_keys() {
            for map in MAPS {
                let lie = Lie::Merge(json!({"metadata": {map: {&key: "v1"}}}));
                let mut instead = Chain::new(case.mapper.clone());
                instead.overridden_by(liar(lie.clone(), "/spec"));
                let links: [Arc<dyn Mapper>; 2] =
                    [Arc::new(instead), Arc::new(behind(case.mapper.clone(), lie, "/spec"))];
                for link in links {
                    tried += 1;
                    let result = protected(case, |ctx| translate::to_host(ctx, link.as_ref(), &case.source));
                    if result.is_ok() {
                        reached.push(format!("{title} {map} {key}"));
                    }
                }
            }
        }
    }
    println!("{tried} edits with a denied key, {} reach the host", reached.len());
    assert!(reached.is_empty(), "{reached:#?}");
}

#[test]
fn what_the_operator_allows_is_for_tenants_and_extensions_alike() {
    let case = case("pod/plain");
    let allow = KeyPolicy { allow: vec!["linkerd.io/inject".to_owned()], deny: Vec::new() };
    let facts = facts(case, MetadataPolicy { labels: KeyPolicy::default(), annotations: allow });
    let ctx = Ctx { facts: &facts, ..case.world.ctx() };
    let inject = |map: &str| Lie::Merge(json!({"metadata": {map: {"linkerd.io/inject": "enabled"}}}));
    let plugin = |map: &str| {
        translate::to_host(&ctx, &behind(case.mapper.clone(), inject(map), "/spec"), &case.source)
    };
    let tenant = translate::to_host(
        &ctx,
        case.mapper.as_ref(),
        &with(&case.source, "annotations", "linkerd.io/inject"),
    );
    assert_eq!(tenant.expect("allowed").annotation("linkerd.io/inject"), Some("v1"));
    assert_eq!(plugin("annotations").expect("allowed").annotation("linkerd.io/inject"), Some("enabled"));
    let refused = plugin("labels").expect_err("only annotations are allowed").problem().to_string();
    assert!(refused.contains("metadata.labels.allow"), "{refused}");
}

/// A pod or Service with this label and everything that can select or read it.
fn labelled(title: &str, key: &str, more: &Value) -> Verdict<HostObject> {
    let case = case(title);
    let mut source = with(&with(&case.source, "labels", key), "annotations", key);
    source.metadata_mut().insert("namespace".to_owned(), "shop".into());
    source.spec_mut().extend(more.as_object().cloned().unwrap_or_default());
    protected(case, |ctx| translate::to_host(ctx, case.mapper.as_ref(), &source))
}

/// Whether the labels have all that `selector` asks for, by equality or `In`.
fn matches(labels: &Fields, selector: &Value) -> bool {
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    equal.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let value = labels.get(expression["key"].as_str().unwrap_or_default());
            value.is_some_and(|value| expression["values"].as_array().is_some_and(|all| all.contains(value)))
        })
}

#[test]
fn selectors_of_denied_labels_still_match_and_the_downward_api_still_answers() {
    for key in denied_keys() {
        let selector = json!({"matchLabels": {&key: "v1"}, "matchExpressions": [{"key": &key, "operator": "In", "values": ["v1"]}]});
        let term = json!([{"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}]);
        let field = |map: &str| json!({"fieldRef": {"fieldPath": format!("metadata.{map}['{key}']")}});
        let env = json!([{"name": "L", "valueFrom": field("labels")}, {"name": "A", "valueFrom": field("annotations")}]);
        let all = json!({"fieldRef": {"fieldPath": "metadata.labels"}, "path": "all"});
        let pod = labelled(
            "pod/plain",
            &key,
            &json!({
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}},
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}],
                "containers": [{"name": "web", "image": "web", "env": env}],
                "volumes": [{"name": "info", "downwardAPI": {"items": [all]}}],
            }),
        );
        let pod = pod.expect("the pod is written");
        let labels = pod.labels().expect("a pod has labels");
        for place in [
            "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector",
            "/spec/topologySpreadConstraints/0/labelSelector",
        ] {
            let selector = pod.pointer(place).expect("it is there");
            assert!(matches(labels, selector), "{key}: {place} is {selector}, the labels are {labels:?}");
        }
        let service = labelled("service/cluster_ip", "app", &json!({"selector": {&key: "v1"}}));
        let service = service.expect("the Service is written");
        let selector = json!({"matchLabels": service.pointer("/spec/selector")});
        assert!(
            matches(labels, &selector),
            "{key}: the Service selects {selector}, the labels are {labels:?}"
        );
        answers(&pod, &key);
    }
}

/// The variables and the file of the pod above have the tenant's value and key.
fn answers(pod: &HostObject, key: &str) {
    let env = pod.pointer("/spec/containers/0/env").and_then(Value::as_array).expect("there are variables");
    for (name, map) in [("L", pod.labels()), ("A", pod.annotations())] {
        let variable = env.iter().find(|variable| variable["name"] == name).expect("it is there");
        let path = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str().expect("it reads a field");
        let read =
            path.split_once("['").and_then(|(_, rest)| rest.strip_suffix("']")).expect("one key is read");
        assert_eq!(map.and_then(|map| map.get(read)).and_then(Value::as_str), Some("v1"), "{key}: {path}");
    }
    let file = pod.annotation("downward.weft.dev/labels").expect("the file has an annotation");
    assert!(file.contains(&format!("{key}=\"v1\"")), "{key} is not in {file}");
}

/// What an older version wrote: the keys as they are, and that it was it who wrote them.
#[test]
fn an_object_that_was_written_with_denied_keys_is_patched_once_and_keeps_what_others_added() {
    for title in CASES {
        let case = case(title);
        let source = with(&with(&case.source, "labels", "istio.io/rev"), "annotations", "linkerd.io/inject");
        let mut old =
            translate::to_host(&case.world.ctx(), case.mapper.as_ref(), &source).expect("it was written");
        old.annotations_mut().insert("sidecar.istio.io/status".to_owned(), "injected".into());
        let new = protected(case, |ctx| translate::to_host(ctx, case.mapper.as_ref(), &source))
            .expect("it is written");
        let patches = host_patches(case.mapper.as_ref(), &new, &old);
        assert_eq!(patches.len(), 1, "{title}: {patches:?}");
        let metadata = &patches[0].body["metadata"];
        assert_eq!(metadata["labels"]["istio.io/rev"], Value::Null, "{title}: {metadata}");
        assert_eq!(metadata["labels"]["istio.io.tenant.weft.dev/rev"], "v1", "{title}: {metadata}");
        assert!(
            metadata["annotations"].get("linkerd.io/inject").is_some_and(Value::is_null),
            "{title}: {metadata}"
        );
        assert!(metadata["annotations"].get("sidecar.istio.io/status").is_none(), "{title}: {metadata}");
        assert_eq!(patches[0].body.as_object().map(Fields::len), Some(1), "{title}: only metadata changes");
    }
}

proptest! {
    /// Whatever the operator lists, two keys of a tenant stay two, and none becomes one of weft's own.
    #[test]
    fn keys_stay_apart_whatever_is_denied(
        deny in prop::collection::vec("(\\*\\.)?[a-c]\\.(tenant\\.weft\\.dev|io)/\\*|[a-c]\\*?|\\*", 0..3),
        one in "([a-c]\\.)?(tenant\\.weft\\.dev/|weft\\.dev/|io/|istio\\.io/)?[a-c]{1,2}",
        two in "([a-c]\\.)?(tenant\\.weft\\.dev/|weft\\.dev/|io/|istio\\.io/)?[a-c]{1,2}",
    ) {
        let policy = KeyPolicy { allow: Vec::new(), deny };
        let to_host = |key: &str| weft_core::host_keys::to_host(&policy, key);
        prop_assert_eq!(one == two, to_host(&one) == to_host(&two), "{} {}", to_host(&one), to_host(&two));
        prop_assert!(!to_host(&one).starts_with("weft.dev/"));
    }
}
