//! What holds whatever an extension answers: its edit is refused, or the object stays what it was.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/lies.rs"]
mod lies;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use weft_core::confine::confine;
use weft_core::context::Ctx;
use weft_core::keys::{APPLIED, CLUSTER_LABEL, DIGEST, IDENTITY, WANTED};
use weft_core::labels;
use weft_core::mapper::Mapper;
use weft_core::object::{Fields, HostObject, VirtualObject};
use weft_core::references;
use weft_core::translate;

use lies::{CONTAINERS, IDENTITIES, Lie, POWERS, any_lie, lie, lying, object};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn an_edit_is_refused_or_leaves_the_object_what_it_was(index in 0..1000_usize, lie in lie()) {
        let cases = cases::all();
        let case = &cases[index % cases.len()];
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
        let cases = cases::all();
        let case = &cases[index % cases.len()];
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
fn an_extension_is_not_blamed_for_what_the_tenant_asks_for() {
    let case = cases::all().iter().find(|case| case.title == "pod/volumes_refused").expect("is a case");
    let ctx = case.world.ctx();
    let fair = translate::to_host(&ctx, case.mapper.as_ref(), &case.source);
    let chain = lying(case, Lie::Patch(json!([])), "/spec");
    assert_eq!(translate::to_host(&ctx, &chain, &case.source), fair);
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
        Some("PersistentVolumeClaim") => {
            prop_assert!(result.text("/spec/volumeName").is_none_or(str::is_empty));
            for source in ["/spec/dataSource", "/spec/dataSourceRef"] {
                let kind = result.pointer(source).and_then(|source| source.get("kind")?.as_str());
                prop_assert!(
                    kind.is_none_or(|kind| kind == "PersistentVolumeClaim"),
                    "{} is a {:?}",
                    source,
                    kind
                );
            }
            check_keys(result, &["pv.kubernetes.io/", "volume.kubernetes.io/"])
        }
        Some("Secret") => {
            prop_assert_eq!(fair.pointer("/type"), result.pointer("/type"));
            check_keys(result, &["kubernetes.io/service-account."])
        }
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

/// No annotation of these domains, by which controllers of the host act on the object.
fn check_keys(object: &HostObject, domains: &[&str]) -> Result<(), TestCaseError> {
    for (key, _) in object.annotations().into_iter().flatten() {
        prop_assert!(!domains.iter().any(|domain| key.starts_with(domain)), "{}", key);
    }
    Ok(())
}

/// Written in another way than the guard's own check, so that both would have to be wrong.
fn check_powers(fair: &HostObject, result: &HostObject) -> Result<(), TestCaseError> {
    for path in POWERS {
        prop_assert_eq!(fair.pointer(path), result.pointer(path), "{}", path);
    }
    let (before, after) = (powers(fair), powers(result));
    let added: Vec<&String> = after.difference(&before).collect();
    prop_assert!(added.is_empty(), "it may do more: {:?}", added);
    Ok(())
}

/// What the parts of a pod may do, each as a string.
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
    object.annotations_mut().remove(WANTED);
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
