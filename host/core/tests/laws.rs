//! What holds for every object: translation comes to rest, confine holds, names and keys do not meet.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/servers.rs"]
mod servers;

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_core::chain::Chain;
use weft_core::context::Ctx;
use weft_core::keys::{CLUSTER_LABEL, IDENTITY, NAMESPACE_LABEL};
use weft_core::labels;
use weft_core::mapper::Mapper;
use weft_core::names::{Identity, Names};
use weft_core::object::{Fields, HostObject, VirtualName, VirtualObject};
use weft_core::plan::Step;
use weft_core::references;
use weft_core::spec::{KindSpec, Life};
use weft_core::translate;
use weft_core::verdict::Hold;

use cases::{Case, World};
use servers::Pair;

/// Fields that the API never changes: a host object with others has to be recreated.
const FIXED: &[&str] = &["/type", "/addressType"];

#[test]
fn what_was_created_is_left_alone() {
    for (case, mut pair) in created() {
        let again = pair.plan(&case.world, case.mapper.as_ref()).steps;
        let is_left = again.iter().all(is_elsewhere);
        assert!(is_left, "{}: planned again, {again:#?}", case.title);
        pair.settle(&case.world, case.mapper.as_ref());
    }
}

#[test]
fn a_chain_without_extensions_decides_what_its_base_decides() {
    for case in cases::all() {
        let chain = Chain::new(case.mapper.clone());
        let pair = Pair::new(case.source.clone());
        check_same_plan(case, &chain, &pair);
        let created = created().into_iter().find(|(other, _)| other.title == case.title);
        let Some((_, mut pair)) = created else { continue };
        check_same_plan(case, &chain, &pair);
        show(case, &mut pair);
        check_same_plan(case, &chain, &pair);
        pair.source = None;
        check_same_plan(case, &chain, &pair);
    }
}

fn check_same_plan(case: &Case, chain: &Chain, pair: &Pair) {
    let (of_base, of_chain) = (pair.plan(&case.world, case.mapper.as_ref()), pair.plan(&case.world, chain));
    assert_eq!(of_base, of_chain, "{}", case.title);
}

#[test]
fn translation_is_deterministic_and_survives_text() {
    for case in cases::all() {
        let text = case.source.clone().into_json().to_string();
        let read = serde_json::from_str(&text).ok().and_then(VirtualObject::from_json).expect("JSON is JSON");
        let to_host =
            |source: &VirtualObject| translate::to_host(&case.world.ctx(), case.mapper.as_ref(), source);
        assert_eq!(to_host(&case.source), to_host(&case.source), "{}", case.title);
        assert_eq!(to_host(&case.source), to_host(&read), "{}", case.title);
    }
}

#[test]
fn what_flows_back_comes_to_rest() {
    for (case, mut pair) in created() {
        show(case, &mut pair);
        pair.settle(&case.world, case.mapper.as_ref());
    }
}

/// Gives the host object what the case's status file shows.
fn show(case: &Case, pair: &mut Pair) {
    let (Some(shown), Some(host)) = (&case.shown, &mut pair.host) else { return };
    let mut json = host.clone().into_json();
    servers::merge(&mut json, &shown.clone().into_json());
    let identity = host.annotation(IDENTITY).map(str::to_owned);
    *host = HostObject::from_json(json).expect("an object stays an object");
    let now = host.annotation(IDENTITY).map(str::to_owned);
    assert_eq!(now, identity, "{}: leave out our annotations", case.title);
}

#[test]
fn a_changed_object_comes_to_rest_and_the_host_has_the_change() {
    for (case, pair) in created().iter().filter(|(case, _)| case.mapper.spec().policy.life == Life::Data) {
        for other in cases::all().iter().filter(|other| is_same_kind(case, other)) {
            let mut pair = pair.clone();
            let changed = content_of(other, &case.source);
            pair.source = Some(changed.clone());
            pair.settle(&other.world, case.mapper.as_ref());
            check_content(case, other, &pair, &changed);
        }
    }
}

#[test]
fn an_outsiders_change_on_the_host_is_put_back() {
    for (case, mut pair) in
        created().into_iter().filter(|(case, _)| case.mapper.spec().policy.life == Life::Data)
    {
        let before = pair.host.clone().expect("it was just created");
        for path in case.mapper.spec().managed.iter().filter(|path| before.text(path).is_some()) {
            let host = pair.host.as_mut().expect("it was just created");
            *host.pointer_mut(path).expect("it was just seen") = "changed".into();
            pair.settle(&case.world, case.mapper.as_ref());
            assert_eq!(
                pair.host.as_ref().and_then(|host| host.pointer(path)),
                before.pointer(path),
                "{} {path}",
                case.title
            );
        }
    }
}

#[test]
fn a_service_moves_to_the_address_that_the_host_gave() {
    let (case, mut pair) =
        created().into_iter().find(|(case, _)| case.title == "service/node_port").expect("is a case");
    give(&mut pair, "10.96.99.9", 31999);
    let steps = pair.settle(&case.world, case.mapper.as_ref());
    assert!(
        matches!(steps.as_slice(), [Step::PatchVirtual { .. }, Step::PatchVirtual { .. }, ..]),
        "{steps:#?}"
    );
    check_moved(case, &pair);
}

#[test]
fn a_service_that_was_left_halfway_finishes_its_move() {
    let (case, mut pair) =
        created().into_iter().find(|(case, _)| case.title == "service/node_port").expect("is a case");
    give(&mut pair, "10.96.99.9", 31999);
    let steps = pair.plan(&case.world, case.mapper.as_ref()).steps;
    pair.apply(steps.first().expect("there is a move to make"));
    assert_eq!(pair.source.as_ref().and_then(|source| source.text("/spec/type")), Some("ExternalName"));
    let steps = pair.settle(&case.world, case.mapper.as_ref());
    // The way back, and the digest of the new node port on the host.
    assert!(matches!(steps.as_slice(), [Step::PatchVirtual { .. }, Step::PatchHost { .. }]), "{steps:#?}");
    check_moved(case, &pair);
}

#[test]
fn a_service_that_was_left_halfway_can_have_back_what_it_had() {
    let (case, mut pair) =
        created().into_iter().find(|(case, _)| case.title == "service/node_port").expect("is a case");
    let before = pair.source.clone().expect("it was just created");
    give(&mut pair, "10.96.99.9", 31999);
    let steps = pair.plan(&case.world, case.mapper.as_ref()).steps;
    pair.apply(steps.first().expect("there is a move to make"));
    let halfway = pair.source.clone().expect("it is there");
    for change in weft_core::kinds::service::move_back(&halfway) {
        let (name, uid) = (halfway.virtual_name(), halfway.uid().to_owned());
        pair.apply(&Step::PatchVirtual { name, uid, change });
    }
    let after = pair.source.expect("it is there");
    assert_eq!(after.pointer("/spec"), before.pointer("/spec"));
    assert_eq!(after.annotation(weft_core::keys::MOVING), None);
    assert!(weft_core::kinds::service::move_back(&after).is_empty(), "it is not halfway any more");
}

#[test]
fn a_node_port_that_the_tenant_asks_for_goes_to_the_host() {
    let (case, mut pair) =
        created().into_iter().find(|(case, _)| case.title == "service/node_port").expect("is a case");
    let source = pair.source.as_mut().expect("it was just created");
    *source.pointer_mut("/spec/ports/0/nodePort").expect("is there") = 30999.into();
    pair.settle(&case.world, case.mapper.as_ref());
    let node_port = |port: Option<&Value>| port.and_then(Value::as_i64);
    assert_eq!(
        node_port(pair.host.as_ref().and_then(|host| host.pointer("/spec/ports/0/nodePort"))),
        Some(30999)
    );
    assert_eq!(
        node_port(pair.source.as_ref().and_then(|source| source.pointer("/spec/ports/0/nodePort"))),
        Some(30999)
    );
}

#[test]
fn the_api_servers_own_service_is_moved_to_an_address_and_then_left_alone() {
    let case = cases::all().iter().find(|case| case.title == "service/api_server").expect("is a case");
    let addresses = ["10.96.0.77".to_owned()];
    let mut current = case.source.clone().into_json();
    let changes = weft_core::kinds::service::move_to(&case.source, &addresses);
    assert_eq!(changes.len(), 2);
    for change in &changes {
        servers::merge(&mut current, &change.body);
    }
    let moved = VirtualObject::from_json(current).expect("an object stays an object");
    assert_eq!(moved.pointer("/spec/clusterIPs"), Some(&json!(addresses)));
    assert_eq!(moved.text("/spec/type"), Some("ClusterIP"));
    assert_eq!(weft_core::kinds::service::move_to(&moved, &addresses), []);
}

proptest! {
    #[test]
    fn confine_holds_for_any_mapper(case_index in 0..1000_usize, edits in prop::collection::vec(edit(), 0..6)) {
        let all = cases::all();
        let case = &all[case_index % all.len()];
        let hostile = Hostile { inner: case.mapper.as_ref(), edits };
        let fair = translate::to_host(&case.world.ctx(), case.mapper.as_ref(), &case.source);
        if let (Ok(result), Ok(fair)) = (translate::to_host(&case.world.ctx(), &hostile, &case.source), fair) {
            check_confined(&case.world, &hostile, &result, &fair)?;
        }
    }

    #[test]
    fn different_keys_stay_different(one in key(), two in key()) {
        prop_assert_eq!(one == two, labels::key_to_host(&one) == labels::key_to_host(&two));
        prop_assert!(!matches!(labels::key_to_host(&one).as_str(), CLUSTER_LABEL | NAMESPACE_LABEL | IDENTITY));
    }

    #[test]
    fn an_identity_on_the_wrong_object_is_not_ours(
        cluster in "(my-vcluster|other)", (namespace, name) in ("[ax-]{1,5}", "[ax-]{1,5}"), on in "[ax-]{1,5}-x-[ax-]{1,5}-x-(my-vcluster|other)",
    ) {
        let names = Names::new("my-vcluster", "team-a").expect("the name is valid");
        let identity = Identity { cluster, kind: "v1/Pod".into(), namespace: namespace.clone(), name: name.clone(), uid: "u".into() };
        let object = HostObject::from_json(json!({"metadata": {"name": on, "annotations": {IDENTITY: identity.to_text()}}}));
        let taken = names.identity(&object.expect("an object"));
        let fits = identity.cluster == "my-vcluster" && names.host_name(&VirtualName::new(namespace, name)).as_str() == on;
        prop_assert_eq!(taken.is_some(), fits);
    }
}

/// A mapper that does as another one does and then edits the result.
struct Hostile<'a> {
    inner: &'a dyn Mapper,
    edits: Vec<(&'static str, Value)>,
}

impl Mapper for Hostile<'_> {
    fn spec(&self) -> &KindSpec {
        self.inner.spec()
    }

    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, draft: HostObject) -> Result<HostObject, Hold> {
        let mut json = self.inner.to_host(ctx, source, draft)?.into_json();
        for (path, value) in &self.edits {
            set(&mut json, path, value.clone());
        }
        Ok(HostObject::from_json(json).unwrap_or_else(|| HostObject::new(Fields::new())))
    }
}

fn edit() -> impl Strategy<Value = (&'static str, Value)> {
    let path = prop::sample::select(vec![
        "/apiVersion",
        "/kind",
        "/metadata",
        "/metadata/name",
        "/metadata/namespace",
        "/metadata/ownerReferences",
        "/metadata/finalizers",
        "/metadata/uid",
        "/metadata/generateName",
        "/metadata/labels",
        "/metadata/labels/app",
        "/metadata/labels/weft.dev~1cluster",
        "/metadata/labels/x.weft.dev~1y",
        "/metadata/annotations",
        "/metadata/annotations/weft.dev~1identity",
        "/metadata/annotations/note",
        "/spec",
        "/spec/serviceAccountName",
        "/spec/volumes",
        "/spec/dataSource/name",
        "/spec/dataSourceRef/name",
        "/spec/type",
        "/data",
        "/status",
    ]);
    let value = prop::sample::select(vec![
        Value::Null,
        json!("web-x-shop-x-my-vcluster"),
        json!("web-x-shop-x-other"),
        json!("default"),
        json!({}),
        json!([]),
        json!({"app": "other"}),
        json!([{"name": "v", "secret": {"secretName": "host-secret"}}]),
        json!(7),
    ]);
    (path, value)
}

fn key() -> impl Strategy<Value = String> {
    "((x\\.)?(weft\\.dev|tenant|a)(\\.tenant\\.weft\\.dev)?/)?(cluster|namespace|identity|a)"
}

fn check_confined(
    world: &World,
    mapper: &dyn Mapper,
    result: &HostObject,
    fair: &HostObject,
) -> Result<(), TestCaseError> {
    for path in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata/ownerReferences"]
    {
        prop_assert_eq!(result.pointer(path), fair.pointer(path));
    }
    for path in ["/metadata/finalizers", "/metadata/uid", "/metadata/generateName", "/status"] {
        prop_assert_eq!(result.pointer(path), None);
    }
    let reserved = |object: &HostObject| -> Vec<(String, Value)> {
        let all = object.labels().into_iter().flatten().filter(|(key, _)| labels::is_reserved(key));
        all.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    prop_assert_eq!(reserved(result), reserved(fair));
    prop_assert_eq!(result.annotation(IDENTITY), fair.annotation(IDENTITY));
    for references::Used { path, name, .. } in references::host_names(&mapper.spec().references, result) {
        prop_assert!(world.ctx().names.is_ours(name), "{} is {}", path, name);
    }
    Ok(())
}

/// Sets the value at a pointer, making objects on the way; null removes it.
fn set(json: &mut Value, pointer: &str, value: Value) {
    let mut edit = value;
    for segment in pointer.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
        edit = json!({segment.replace("~1", "/"): edit});
    }
    servers::merge(json, &edit);
}

/// Every case that the host has an object for, right after that was created.
fn created() -> Vec<(&'static Case, Pair)> {
    let pairs = cases::all().iter().filter_map(|case| {
        let mut pair = Pair::new(case.source.clone());
        let first = pair.plan(&case.world, case.mapper.as_ref()).steps.into_iter().next()?;
        matches!(first, Step::CreateHost(_)).then(|| {
            pair.apply(&first);
            (case, pair)
        })
    });
    pairs.collect()
}

fn is_same_kind(one: &Case, other: &Case) -> bool {
    one.mapper.spec().resource == other.mapper.spec().resource
}

/// Whether a step leaves the host object itself alone: subresources can only be written once it is there.
fn is_elsewhere(step: &Step) -> bool {
    match step {
        Step::PatchHost { change, .. } => change.subresource.is_some(),
        Step::CreateHost(_) | Step::DeleteHost { .. } => false,
        Step::Bind { .. } | Step::PatchVirtual { .. } | Step::DeleteVirtual { .. } => true,
    }
}

/// The object of `other` under the name of `source`.
fn content_of(other: &Case, source: &VirtualObject) -> VirtualObject {
    let mut content = other.source.clone();
    for field in ["name", "namespace", "uid"] {
        let value = source.pointer(&format!("/metadata/{field}")).cloned().unwrap_or_default();
        content.metadata_mut().insert(field.to_owned(), value);
    }
    content
}

/// The host has all that `changed` asks for, unless that is held back.
fn check_content(case: &Case, other: &Case, pair: &Pair, changed: &VirtualObject) {
    let title = format!("{} changed to {}", case.title, other.title);
    match (translate::to_host(&other.world.ctx(), case.mapper.as_ref(), changed), &pair.host) {
        (Ok(desired), Some(host)) => {
            for path in case
                .mapper
                .spec()
                .managed
                .iter()
                .map(String::as_str)
                .chain(FIXED.iter().copied())
                .filter(|path| *path != "/spec/ports")
            {
                let (want, have) = (desired.pointer(path), host.pointer(path));
                let is_right = want.is_none() || want == have;
                assert!(is_right, "{title}: {path} is {have:?} and not {want:?}");
            }
        }
        (Ok(_), None) => panic!("{title}: the host object is gone"),
        (Err(Hold::Absent(_)), host) => assert!(host.is_none(), "{title}: the host object is still there"),
        (Err(_), _) => {}
    }
}

/// The host answers with an address and a node port of its own, as it does when those asked for were taken.
fn give(pair: &mut Pair, address: &str, node_port: i32) {
    let host = pair.host.as_mut().expect("it was just created");
    let spec = host.spec_mut();
    spec.insert("clusterIP".to_owned(), address.into());
    spec.insert("clusterIPs".to_owned(), json!([address]));
    *host.pointer_mut("/spec/ports/0/nodePort").expect("the case has a node port") = node_port.into();
}

fn check_moved(case: &Case, pair: &Pair) {
    let source = pair.source.as_ref().expect("nobody deletes it");
    assert_eq!(source.text("/spec/clusterIP"), Some("10.96.99.9"));
    assert_eq!(source.pointer("/spec/ports/0/nodePort"), Some(&json!(31999)));
    assert_eq!(source.text("/spec/type"), case.source.text("/spec/type"));
    assert_eq!(source.uid(), case.source.uid());
    assert!(source.annotations().is_none_or(Fields::is_empty), "the note on the move is still there");
    assert_eq!(source.pointer("/spec/externalName"), None);
}
