//! Extensions that answer with any edit, and edits that would do harm.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::context::Ctx;
use weft_core::edit::Edit;
use weft_core::extension::{Answer, Extension, Failure, OnFailure, Request, Terms};
use weft_core::mapper::Mapper;
use weft_core::object::Fields;

use crate::cases::Case;

/// Metadata that is nobody's to change.
pub(crate) const IDENTITIES: &[&str] = &[
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
pub(crate) const POWERS: &[&str] = &[
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
pub(crate) const CONTAINERS: &[&str] =
    &["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];

/// What an extension answers.
#[derive(Debug, Clone)]
pub(crate) enum Lie {
    Patch(Value),
    Merge(Value),
    /// The draft with these values at these places.
    Whole(Vec<(String, Value)>),
}

impl Lie {
    pub(crate) fn edit(&self, draft: &Fields) -> Edit {
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

pub(crate) struct Liar {
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
        let verdict = Ok(self.lie.edit(request.draft));
        Ok(Answer { verdict, events: Vec::new(), conditions: None })
    }

    fn refused(&self, failure: &Failure) {
        assert!(failure.why.len() <= 1024, "a refusal is short: {}", failure.why);
        assert!(!failure.why.contains(char::is_control), "a refusal is one line: {}", failure.why);
    }
}

/// The mapper of a case with a liar behind them that may write `writes`.
pub(crate) fn lying(case: &Case, lie: Lie, writes: &str) -> Chain {
    behind(case.mapper.clone(), lie, writes)
}

/// `base` with a liar behind it that may write `writes`.
pub(crate) fn behind(base: Arc<dyn Mapper>, lie: Lie, writes: &str) -> Chain {
    followed(base, liar(lie, writes))
}

/// `base` with an extension behind it.
pub(crate) fn followed(base: Arc<dyn Mapper>, extension: Arc<dyn Extension>) -> Chain {
    let mut chain = Chain::new(base);
    chain.followed_by(extension);
    chain
}

/// A liar that may write `writes`.
pub(crate) fn liar(lie: Lie, writes: &str) -> Arc<Liar> {
    let terms = Terms {
        to_host: true,
        to_virtual: true,
        host_writes: vec![writes.to_owned(), "/data".to_owned()],
        virtual_writes: vec![writes.to_owned()],
        on_failure: OnFailure::Hold,
    };
    Arc::new(Liar { terms, lie })
}

/// Sets the value at a pointer whose parent is there.
pub(crate) fn put(object: &mut Value, pointer: &str, value: &Value) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.insert(name.replace("~1", "/"), value.clone())),
        Some(Value::Array(items)) => items.push(value.clone()),
        _ => {}
    }
}

/// Lies that have much to do with what is guarded.
pub(crate) fn lie() -> impl Strategy<Value = Lie> {
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
pub(crate) fn any_lie() -> impl Strategy<Value = Lie> {
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
    prop_oneof![prop::sample::select(harmful()), (pointer(), value())]
}

/// What would do harm if it were let through.
fn harmful() -> Vec<(String, Value)> {
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
        ("/metadata/labels/kubernetes.io~1service-name", json!("my-vcluster")),
        ("/metadata/annotations/kubernetes.io~1service-account.name", json!("weft-my-vcluster")),
        ("/metadata/annotations/volume.kubernetes.io~1selected-node", json!("node-1")),
        ("/type", json!("kubernetes.io/service-account-token")),
        ("/spec/volumeName", json!("pvc-1")),
        ("/spec/dataSourceRef", json!({"kind": "PersistentVolumeClaim", "name": "a", "namespace": "team-b"})),
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

pub(crate) fn object() -> impl Strategy<Value = Value> {
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
