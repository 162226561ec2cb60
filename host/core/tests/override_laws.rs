//! What a built-in rule enforces holds as well where an extension stands in its place or behind it.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with the golden files and the laws, which use more of it")]
#[path = "support/cases.rs"]
mod cases;
#[expect(dead_code, reason = "shared with the laws of the guard, which use more of it")]
#[path = "support/lies.rs"]
mod lies;
#[path = "support/silent.rs"]
mod silent;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::mapper::Mapper;
use weft_core::object::{HostObject, Object, ResourceType};
use weft_core::paths;
use weft_core::policy::metadata::MetadataPolicy;
use weft_core::translate;
use weft_core::verdict::{By, Hold, Verdict};

use cases::{Case, World};
use lies::{Lie, behind, liar};

/// What the built-in rules decide and no extension may, beside references and selectors: of each kind, the places.
/// Written in another way than the guard's own tables, so that both would have to be wrong.
const GUARDED: &[(&str, &[&str])] = &[
    ("Secret", &["/type"]),
    ("EndpointSlice", &["/endpoints/*/targetRef"]),
    ("Endpoints", &["/subsets/*/addresses/*/targetRef", "/subsets/*/notReadyAddresses/*/targetRef"]),
    ("PersistentVolumeClaim", &["/spec/volumeName", "/spec/dataSource", "/spec/dataSourceRef"]),
    (
        "Pod",
        &[
            "/spec/serviceAccountName",
            "/spec/serviceAccount",
            "/spec/automountServiceAccountToken",
            "/spec/enableServiceLinks",
            "/spec/priorityClassName",
            "/spec/priority",
            "/spec/preemptionPolicy",
            "/spec/schedulerName",
            "/spec/nodeName",
            "/spec/overhead",
            "/spec/volumes/*/ephemeral",
            "/spec/volumes/*/projected/sources/*/serviceAccountToken",
        ],
    ),
];
/// Parts of the keys of labels and annotations that host controllers act on.
const GUARDED_KEYS: &[&str] = &[
    "kubernetes.io/service-account.",
    "kubernetes.io/service-name",
    "multicluster.kubernetes.io/service-name",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/storage-provisioner",
];

#[test]
fn an_override_that_changes_nothing_is_refused_or_agrees_with_the_built_in_rule_in_guarded_places() {
    let wrong: Vec<String> = cases::all().iter().filter_map(disagreement).collect();
    assert!(wrong.is_empty(), "see confine/content.rs and confine/pod.rs:\n{}", wrong.join("\n"));
}

/// What an override writes that the built-in rule would not.
fn disagreement(case: &Case) -> Option<String> {
    let ctx = case.world.ctx();
    let mut chain = Chain::new(case.mapper.clone());
    chain.overridden_by(liar(Lie::Merge(json!({})), "/spec"));
    let result = translate::to_host(&ctx, &chain, &case.source).ok()?;
    match translate::to_host(&ctx, case.mapper.as_ref(), &case.source) {
        Ok(fair) => {
            let (fair, result) = (guarded(case, &fair), guarded(case, &result));
            (fair != result).then(|| format!("{}: {result:?} is written, not {fair:?}", case.title))
        }
        Err(Hold::Reject(problem)) => Some(format!("{}: {problem}, but it is written", case.title)),
        // Whether there is an object is the override's to decide; what it names is not.
        Err(_) => {
            let mut places = guarded(case, &result).into_iter();
            let foreign = places.find(|(_, value)| !value.to_string().contains("-x-my-vcluster"));
            foreign.map(|(place, value)| format!("{}: {place} is {value}", case.title))
        }
    }
}

/// What stands in the guarded places of a host object.
fn guarded(case: &Case, object: &HostObject) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let spec = case.mapper.spec();
    let of_kind =
        GUARDED.iter().filter(|(kind, _)| *kind == spec.resource.kind).flat_map(|(_, paths)| *paths);
    let references = spec.references.iter().map(|reference| reference.path.as_str());
    let selectors = spec.selectors.iter().map(|selector| selector.path.as_str());
    for path in of_kind.copied().chain(references).chain(selectors) {
        paths::each_place(object.fields(), path, &mut |place, value| {
            found.extend(value.map(|value| (place.to_owned(), value.clone())));
        });
    }
    for (key, value) in object.labels().into_iter().chain(object.annotations()).flatten() {
        if GUARDED_KEYS.iter().any(|part| key.starts_with(part)) {
            found.insert(key.clone(), value.clone());
        }
    }
    found
}

/// An edit of a good host object that would reach what is not the tenant's.
struct Harm {
    case: &'static str,
    at: &'static str,
    value: Value,
    /// The field of the refusal.
    field: &'static str,
}

fn harms() -> Vec<Harm> {
    let harm = |case, at, value, field| Harm { case, at, value, field };
    let host_pod = json!({"kind": "Pod", "name": "of-another", "namespace": "team-a"});
    let elsewhere = json!({"kind": "Pod", "name": "legacy-0-x-shop-x-my-vcluster", "namespace": "team-b"});
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "a-x-shop-x-my-vcluster"});
    let of_team_b =
        json!({"kind": "PersistentVolumeClaim", "name": "a-x-shop-x-my-vcluster", "namespace": "team-b"});
    let foreign = json!({"kind": "PersistentVolumeClaim", "name": "a"});
    vec![
        harm("secret/opaque", "/type", json!("kubernetes.io/service-account-token"), "type"),
        harm("secret/opaque", "/type", json!("bootstrap.kubernetes.io/token"), "type"),
        harm("secret/opaque", "/type", json!("helm.sh/release.v1"), "type"),
        harm("secret/opaque", "/type", json!(7), "type"),
        harm(
            "secret/opaque",
            "/metadata/annotations/kubernetes.io~1service-account.name",
            json!("weft-my-vcluster"),
            "metadata.annotations[kubernetes.io/service-account.name]",
        ),
        harm(
            "endpoint_slice/without_selector",
            "/metadata/labels/kubernetes.io~1service-name",
            json!("my-vcluster"),
            "metadata.labels[kubernetes.io/service-name]",
        ),
        harm(
            "endpoint_slice/without_selector",
            "/endpoints/0/targetRef",
            host_pod.clone(),
            "endpoints[0].targetRef",
        ),
        harm(
            "endpoint_slice/without_selector",
            "/endpoints/0/targetRef",
            elsewhere,
            "endpoints[0].targetRef",
        ),
        harm(
            "endpoint_slice/without_selector",
            "/endpoints/1/targetRef",
            json!({"kind": "Node", "name": "n"}),
            "endpoints[1].targetRef",
        ),
        harm(
            "endpoints/without_selector",
            "/subsets/0/addresses/0/targetRef",
            host_pod,
            "subsets[0].addresses[0].targetRef",
        ),
        harm("persistent_volume_claim/pending", "/spec/volumeName", json!("pvc-1"), "spec.volumeName"),
        harm("persistent_volume_claim/pending", "/spec/dataSource", snapshot, "spec.dataSource"),
        harm(
            "persistent_volume_claim/pending",
            "/spec/dataSourceRef",
            of_team_b,
            "spec.dataSourceRef.namespace",
        ),
        harm("persistent_volume_claim/pending", "/spec/dataSourceRef", foreign, "spec.dataSourceRef.name"),
        harm(
            "persistent_volume_claim/pending",
            "/metadata/annotations/volume.kubernetes.io~1selected-node",
            json!("node-1"),
            "metadata.annotations[volume.kubernetes.io/selected-node]",
        ),
        harm(
            "persistent_volume_claim/pending",
            "/metadata/annotations/pv.kubernetes.io~1bind-completed",
            json!("yes"),
            "metadata.annotations[pv.kubernetes.io/bind-completed]",
        ),
        harm(
            "persistent_volume_claim/pending",
            "/metadata/annotations/volume.beta.kubernetes.io~1storage-provisioner",
            json!("p"),
            "metadata.annotations[volume.beta.kubernetes.io/storage-provisioner]",
        ),
        harm(
            "service/cluster_ip",
            "/metadata/labels/multicluster.kubernetes.io~1service-name",
            json!("of-another"),
            "metadata.labels[multicluster.kubernetes.io/service-name]",
        ),
        harm("pod/plain", "/spec/enableServiceLinks", json!(true), "spec.enableServiceLinks"),
        harm("pod/hosts_file", "/spec/initContainers/0/args", json!(["smoke"]), "spec.initContainers"),
        harm("pod/hosts_file", "/spec/initContainers/0", json!({"name": "before"}), "spec.initContainers"),
        harm("pod/hosts_file", "/spec/volumes/1", json!({"name": "weft-hosts"}), "spec.volumes"),
    ]
}

#[test]
fn an_extension_behind_a_built_in_rule_that_reaches_for_what_is_not_the_tenants_is_refused() {
    for Harm { case: title, at, value, field } in harms() {
        let case = cases::all().iter().find(|case| case.title == title).expect("there is such a case");
        let chain = behind(case.mapper.clone(), edit(at, &value), root(at));
        let verdict = translate::to_host(&case.world.ctx(), &chain, &case.source);
        assert_eq!(refused_field(verdict, "liar"), field, "{title} {at}");
    }
}

#[test]
fn a_kind_that_an_extension_adds_is_judged_by_what_kubernetes_makes_of_it() {
    for Harm { case: title, at, value, field } in harms() {
        let case = cases::all().iter().find(|case| case.title == title).expect("there is such a case");
        if title.starts_with("pod/") || field == "spec.dataSourceRef.name" {
            continue;
        }
        let chain = behind(added(case), edit(at, &value), root(at));
        let good =
            translate::to_host(&case.world.ctx(), case.mapper.as_ref(), &case.source).expect("is good");
        let source = Object::from_json(good.into_json()).expect("is an object");
        let verdict = translate::to_host(&World::new(Vec::new()).ctx(), &chain, &source);
        assert_eq!(refused_field(verdict, "liar"), field, "{title} {at}");
    }
}

#[test]
fn what_no_setting_can_allow_is_refused_without_the_advice_of_one() {
    let mut closed = World::new(Vec::new());
    closed.facts.policy.metadata = MetadataPolicy::default();
    let of_annotations = |harm: &Harm| harm.at.starts_with("/metadata/annotations/");
    let harms: Vec<Harm> = harms().into_iter().filter(of_annotations).collect();
    assert!(harms.len() > 1, "there are few");
    for Harm { case: title, at, value, field } in harms {
        let case = cases::all().iter().find(|case| case.title == title).expect("there is such a case");
        let chain = behind(case.mapper.clone(), edit(at, &value), root(at));
        let Err(Hold::Fail(problem)) = translate::to_host(&closed.ctx(), &chain, &case.source) else {
            panic!("{title} {at} is not refused");
        };
        assert_eq!(problem.field.as_deref(), Some(field), "{title} {at}");
        assert!(!problem.why.contains("allow"), "{title} {at}: {}", problem.why);
    }
}

/// The case's kind as if a declaration that says nothing of it had added it.
fn added(case: &Case) -> Arc<dyn Mapper> {
    let resource = case.mapper.spec().resource.clone();
    silent::silent(ResourceType { version: "v1beta9".into(), ..resource })
}

fn edit(at: &str, value: &Value) -> Lie {
    Lie::Patch(json!([{"op": "add", "path": at, "value": value}]))
}

/// The first segment of a pointer, as a pointer.
fn root(pointer: &str) -> &str {
    let end = pointer.get(1..).and_then(|rest| rest.find('/')).map_or(pointer.len(), |slash| slash + 1);
    pointer.get(..end).expect("the slash is there")
}

/// The field that `plugin` is refused for.
fn refused_field(verdict: Verdict<HostObject>, plugin: &str) -> String {
    match verdict {
        Err(Hold::Fail(problem)) => {
            assert_eq!(problem.by, By::Plugin(plugin.to_owned()));
            problem.field.expect("the guard names a field")
        }
        Ok(_) => "nothing: it is written".to_owned(),
        Err(other) => panic!("it is the plugin's fault, not {other:?}"),
    }
}
