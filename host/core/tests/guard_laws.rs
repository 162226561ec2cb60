//! What holds whatever a rule from outside answers: its edit is refused, or the object stays what it was.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cases.rs"]
mod cases;

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::confine::confine;
use weft_core::context::Ctx;
use weft_core::edit::Edit;
use weft_core::extension::{Answer, Extension, Failure, OnFailure, Request, Terms, Verdict};
use weft_core::labels;
use weft_core::mapper::Mapper;
use weft_core::names::{APPLIED, CLUSTER_LABEL, DIGEST, IDENTITY};
use weft_core::object::{Fields, HostObject, VirtualObject};
use weft_core::references;
use weft_core::translate;

use cases::Case;

/// Metadata that is nobody's to change.
const IDENTITIES: &[&str] = &[
    "/apiVersion",
    "/kind",
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/ownerReferences",
    "/metadata/finalizers",
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/metadata/generateName",
    "/status",
];
/// What a pod may do as a whole.
const POWERS: &[&str] = &[
    "/spec/securityContext",
    "/spec/hostNetwork",
    "/spec/hostPID",
    "/spec/hostIPC",
    "/spec/nodeName",
    "/spec/runtimeClassName",
    "/spec/priorityClassName",
    "/spec/serviceAccountName",
    "/spec/automountServiceAccountToken",
];
const CONTAINERS: &[&str] = &["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn an_edit_is_refused_or_leaves_the_object_what_it_was(index in 0..1000_usize, lie in lie()) {
        let cases: Vec<&Case> = cases::all().iter().filter(|case| is_guarded(case)).collect();
        let case = cases[index % cases.len()];
        let chain = lying(case, lie, "/spec");
        let ctx = case.world.ctx();
        if let (Ok(fair), Ok(result)) = (
            translate::to_host(&ctx, case.mapper.as_ref(), &case.source),
            translate::to_host(&ctx, &chain, &case.source),
        ) {
            check_host(&ctx, &chain, &unsigned(fair), &unsigned(result))?;
        }
    }

    #[test]
    fn an_edit_of_the_tenants_object_stays_in_its_status(index in 0..1000_usize, lie in lie()) {
        let cases: Vec<&Case> = cases::all().iter().filter(|case| is_guarded(case)).collect();
        let case = cases[index % cases.len()];
        let ctx = case.world.ctx();
        let host = translate::to_host(&ctx, case.mapper.as_ref(), &case.source);
        if let Ok(host) = case.shown.clone().map_or(host, Ok) {
            let chain = lying(case, lie, "/status");
            let fair = translate::to_virtual(&ctx, case.mapper.as_ref(), &host, &case.source);
            let result = translate::to_virtual(&ctx, &chain, &host, &case.source);
            let is_held = result == case.source;
            prop_assert!(is_held || without_status(&result) == without_status(&fair));
            prop_assert_eq!(of_plugins(&result), of_plugins(&case.source));
        }
    }

    #[test]
    fn no_edit_breaks_off_in_the_middle(draft in object(), lie in any_lie()) {
        let Value::Object(draft) = draft else { panic!("an object is one") };
        // The result does not matter, that there is one does.
        drop(lie.edit(&draft).apply(&draft));
    }
}

#[test]
fn an_honest_edit_is_carried_out() {
    let case = cases::all().iter().find(|case| case.title == "pod/plain").expect("is a case");
    let operations = json!([{"op": "add", "path": "/metadata/labels/team", "value": "a"}]);
    let chain = lying(case, Lie::Patch(operations), "/spec");
    let host = translate::to_host(&case.world.ctx(), &chain, &case.source).expect("nothing is wrong with it");
    assert_eq!(host.label("team"), Some("a"));
}

#[test]
fn a_rule_is_not_blamed_for_what_the_tenant_asks_for() {
    let case = cases::all().iter().find(|case| case.title == "pod/volumes_refused").expect("is a case");
    let ctx = case.world.ctx();
    let fair = translate::to_host(&ctx, case.mapper.as_ref(), &case.source);
    let chain = lying(case, Lie::Patch(json!([])), "/spec");
    assert_eq!(translate::to_host(&ctx, &chain, &case.source), fair);
}

fn is_guarded(case: &Case) -> bool {
    matches!(case.mapper.spec().resource.kind().as_str(), "v1/Pod" | "v1/ConfigMap" | "v1/Service")
}

/// What a rule answers.
#[derive(Debug, Clone)]
enum Lie {
    Patch(Value),
    Merge(Value),
    /// The draft with these values at these places.
    Whole(Vec<(String, Value)>),
}

impl Lie {
    fn edit(&self, draft: &Fields) -> Edit {
        match self {
            // Nothing comes of pointers that are none.
            Self::Patch(operations) => {
                serde_json::from_value(operations.clone()).map_or(Edit::Unchanged, Edit::Patch)
            }
            Self::Merge(patch) => Edit::Merge(patch.clone()),
            Self::Whole(places) => {
                let mut whole = Value::Object(draft.clone());
                for (pointer, value) in places {
                    put(&mut whole, pointer, value);
                }
                whole.as_object().cloned().map_or(Edit::Unchanged, Edit::Whole)
            }
        }
    }
}

struct Liar {
    terms: Terms,
    lie: Lie,
}

impl Extension for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn call(&self, _: &Ctx<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
        let verdict = Verdict::Apply(self.lie.edit(request.draft));
        Ok(Answer { verdict, events: Vec::new(), conditions: None })
    }

    fn refused(&self, failure: &Failure) {
        assert!(failure.why.len() <= 1024, "a refusal is short: {}", failure.why);
        assert!(!failure.why.contains(char::is_control), "a refusal is one line: {}", failure.why);
    }
}

/// The rules of a case with a liar behind them that may write `writes`.
fn lying(case: &Case, lie: Lie, writes: &str) -> Chain {
    let mut chain = Chain::new(case.mapper.clone());
    let terms = Terms {
        to_host: true,
        to_virtual: true,
        host_writes: vec![writes.to_owned(), "/data".to_owned()],
        virtual_writes: vec![writes.to_owned()],
        on_failure: OnFailure::Hold,
    };
    chain.followed_by(Arc::new(Liar { terms, lie }));
    chain
}

fn check_host(
    ctx: &Ctx<'_>,
    mapper: &dyn Mapper,
    fair: &HostObject,
    result: &HostObject,
) -> Result<(), TestCaseError> {
    for path in IDENTITIES {
        prop_assert_eq!(fair.pointer(path), result.pointer(path), "{}", path);
    }
    prop_assert_eq!(reserved(fair.labels()), reserved(result.labels()));
    prop_assert_eq!(fair.annotation(IDENTITY), result.annotation(IDENTITY));
    prop_assert!(confine(ctx, mapper, fair, result).is_ok());
    for used in references::host_names(&mapper.spec().references, result) {
        prop_assert!(ctx.names.is_ours(used.name), "{} is {}", used.path, used.name);
    }
    match result.text("/kind") {
        Some("Pod") => check_powers(fair, result),
        Some("Service") => {
            let selector = result.pointer("/spec/selector").and_then(Value::as_object);
            let is_ours = selector.is_none_or(|labels| {
                labels.is_empty() || labels.get(CLUSTER_LABEL) == Some(&ctx.names.cluster().into())
            });
            prop_assert!(is_ours, "it selects {:?}", selector);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Told in other words than the guard's own, so that both would have to be wrong.
fn check_powers(fair: &HostObject, result: &HostObject) -> Result<(), TestCaseError> {
    for path in POWERS {
        prop_assert_eq!(fair.pointer(path), result.pointer(path), "{}", path);
    }
    let (before, after) = (powers(fair), powers(result));
    let added: Vec<&String> = after.difference(&before).collect();
    prop_assert!(added.is_empty(), "it may do more: {:?}", added);
    Ok(())
}

/// What the parts of a pod may do, each as a text.
fn powers(pod: &HostObject) -> BTreeSet<String> {
    let mut powers = BTreeSet::new();
    for list in CONTAINERS {
        for container in items(pod.pointer(list)) {
            let name = &container["name"];
            let context = &container["securityContext"];
            let adds = context.pointer("/capabilities/add").is_some_and(Value::is_array);
            if adds || context["privileged"] == true {
                powers.insert(format!("{list} {name} {context}"));
            }
            for port in items(container.get("ports")).filter(|port| port["hostPort"].is_number()) {
                powers.insert(format!("{list} {name} {} on {}", port["hostPort"], port["hostIP"]));
            }
            if let Some(host) = container.pointer("/livenessProbe/httpGet/host") {
                powers.insert(format!("{list} {name} asks {host}"));
            }
        }
    }
    for volume in items(pod.pointer("/spec/volumes")) {
        for source in ["hostPath", "csi", "nfs"] {
            powers.extend(volume.get(source).map(|found| format!("{source} {found}")));
        }
    }
    powers
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn reserved(map: Option<&Fields>) -> Vec<(&String, &Value)> {
    map.into_iter().flatten().filter(|(key, _)| labels::is_reserved(key)).collect()
}

/// Without what follows from the rest of it.
fn unsigned(mut object: HostObject) -> HostObject {
    object.annotations_mut().remove(DIGEST);
    object.annotations_mut().remove(APPLIED);
    object
}

fn without_status(object: &VirtualObject) -> Fields {
    let mut fields = object.fields().clone();
    fields.remove("status");
    fields
}

fn of_plugins(object: &VirtualObject) -> Vec<&Value> {
    let is_plugins = |condition: &&Value| {
        condition["type"].as_str().is_some_and(|kind| kind.contains(".plugins.weft.dev/"))
    };
    items(object.pointer("/status/conditions")).filter(is_plugins).collect()
}

/// Sets the value at a pointer whose parent is there.
fn put(object: &mut Value, pointer: &str, value: &Value) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.insert(name.replace("~1", "/"), value.clone())),
        Some(Value::Array(items)) => items.push(value.clone()),
        _ => {}
    }
}

/// Lies that have much to do with what is guarded.
fn lie() -> impl Strategy<Value = Lie> {
    let places = || prop::collection::vec(place(), 0..3);
    prop_oneof![
        4 => prop::collection::vec(operation(pointer(), place()), 0..4).prop_map(|all| Lie::Patch(all.into())),
        2 => places().prop_map(|places| Lie::Merge(merge(&places))),
        2 => places().prop_map(Lie::Whole),
        1 => object().prop_map(Lie::Merge),
        1 => object().prop_map(|whole| Lie::Patch(json!([{"op": "replace", "path": "", "value": whole}]))),
    ]
}

/// Lies that have to do with nothing.
fn any_lie() -> impl Strategy<Value = Lie> {
    let pointer = "(/(a|b|0|1|-|~0|~1|01|99999999999999999999|)){0,5}";
    prop_oneof![
        prop::collection::vec(operation(pointer, (pointer, json_value())), 0..12)
            .prop_map(|all| Lie::Patch(all.into())),
        json_value().prop_map(Lie::Merge),
        prop::collection::vec((pointer, json_value()), 0..4).prop_map(Lie::Whole),
    ]
}

fn operation(
    from: impl Strategy<Value = String>,
    place: impl Strategy<Value = (String, Value)>,
) -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["add", "add", "add", "remove", "replace", "move", "copy", "test"]);
    (name, from, place).prop_map(
        |(name, from, (path, value))| json!({"op": name, "path": path, "from": from, "value": value}),
    )
}

fn merge(places: &[(String, Value)]) -> Value {
    let mut patch = json!({});
    for (pointer, value) in places {
        let segments: Vec<String> =
            pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/")).collect();
        let nested = segments.into_iter().rev().fold(value.clone(), |inner, name| json!({name: inner}));
        join(&mut patch, nested);
    }
    patch
}

fn join(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                join(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn pointer() -> impl Strategy<Value = String> + Clone {
    let guarded = IDENTITIES.iter().chain(POWERS).chain(CONTAINERS).copied();
    let others = [
        "",
        "/metadata",
        "/metadata/labels",
        "/metadata/labels/app",
        "/metadata/labels/weft.dev~1cluster",
        "/metadata/labels/x.weft.dev~1y",
        "/metadata/annotations",
        "/metadata/annotations/note",
        "/metadata/annotations/weft.dev~1identity",
        "/metadata/annotations/weft.dev~1digest",
        "/spec",
        "/spec/containers/-",
        "/spec/containers/0",
        "/spec/containers/0/image",
        "/spec/containers/0/ports",
        "/spec/containers/0/envFrom",
        "/spec/containers/0/securityContext",
        "/spec/containers/0/livenessProbe",
        "/spec/volumes",
        "/spec/volumes/-",
        "/spec/volumes/0",
        "/spec/affinity",
        "/spec/selector",
        "/spec/selector/weft.dev~1cluster",
        "/spec/imagePullSecrets",
        "/status/conditions",
        "/status/phase",
        "/data",
        "/data/mode",
    ];
    prop::sample::select(guarded.chain(others).map(str::to_owned).collect::<Vec<_>>())
}

/// Values where they mean something, and where they do not.
fn place() -> impl Strategy<Value = (String, Value)> {
    prop_oneof![prop::sample::select(telling()), (pointer(), value())]
}

/// What would do harm if it were let through.
fn telling() -> Vec<(String, Value)> {
    let probe = json!({"httpGet": {"host": "169.254.169.254", "port": 80}});
    let near =
        json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]}});
    [
        ("/spec/containers/0/livenessProbe", probe),
        ("/spec/containers/0/ports", json!([{"containerPort": 1, "hostPort": 22}])),
        ("/spec/containers/0/securityContext", json!({"privileged": true})),
        ("/spec/containers/0/envFrom", json!([{"secretRef": {"name": "vc-my-vcluster"}}])),
        ("/spec/containers/-", json!({"name": "x", "securityContext": {"capabilities": {"add": ["ALL"]}}})),
        ("/spec/volumes", json!([{"name": "v", "hostPath": {"path": "/"}}])),
        ("/spec/volumes", json!([{"name": "v", "secret": {"secretName": "vc-my-vcluster"}}])),
        ("/spec/hostNetwork", json!(true)),
        ("/spec/automountServiceAccountToken", json!(true)),
        ("/spec/affinity", near),
        ("/spec/selector", json!({"app": "other"})),
        ("/spec/selector/weft.dev~1cluster", json!("other")),
        ("/metadata/labels/weft.dev~1cluster", json!("other")),
        ("/metadata/annotations/weft.dev~1identity", json!("{}")),
        ("/status", json!({"conditions": [{"type": "other.plugins.weft.dev/Ready", "status": "True"}]})),
        ("/\u{1b}[31m\n", json!(1)),
    ]
    .map(|(pointer, value)| (pointer.to_owned(), value))
    .to_vec()
}

fn value() -> impl Strategy<Value = Value> {
    let privileged = json!({"name": "x", "image": "x", "securityContext": {"privileged": true}});
    let forged = json!({"type": "other.plugins.weft.dev/Ready", "status": "True"});
    let near = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {}}]});
    let values = vec![
        Value::Null,
        json!(true),
        json!(7),
        json!("kube-system"),
        json!("vc-my-vcluster"),
        json!("web-x-shop-x-my-vcluster"),
        json!({}),
        json!([]),
        json!({"app": "other"}),
        json!({"privileged": true}),
        json!({"httpGet": {"host": "169.254.169.254", "port": 80}}),
        json!([{"containerPort": 1, "hostPort": 22}]),
        json!([{"secretRef": {"name": "vc-my-vcluster"}}]),
        json!([{"name": "vc-my-vcluster"}]),
        json!({"name": "v", "hostPath": {"path": "/"}}),
        json!({"name": "v", "secret": {"secretName": "vc-my-vcluster"}}),
        json!([{"name": "v", "emptyDir": {}}]),
        json!({"podAffinity": near}),
        json!([forged]),
        json!([privileged.clone()]),
        privileged,
    ];
    prop_oneof![6 => prop::sample::select(values), 1 => json_value()]
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("(a|b|kind|metadata|spec|status|data)", json_value(), 0..5)
        .prop_map(|fields| fields.into_iter().collect::<Fields>().into())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,6}|[\u{0}-\u{1f}]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab01/~\u{1b}]{0,2}|name|labels", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect::<Fields>().into()),
        ]
    })
}
