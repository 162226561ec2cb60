//! Which names references find, translate and refuse.

use super::*;
use serde_json::json;

fn table() -> Vec<Reference> {
    vec![Reference::new("/spec/volumes/*/secret/secretName", "v1/Secret")]
}

#[test]
fn the_same_table_finds_and_rewrites() {
    let names = Names::new("vc", "team-a").unwrap();
    let json = json!({"metadata": {"namespace": "n"}, "spec": {"volumes": [{"secret": {"secretName": "s"}}, {"emptyDir": {}}]}});
    let source = VirtualObject::from_json(json.clone()).unwrap();
    let found: Vec<String> = targets(&table(), &source).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["Secret n/s"]);
    let mut draft = HostObject::from_json(json).unwrap();
    rewrite(&table(), &names, "n", &mut draft);
    let used = Used { path: "/spec/volumes/*/secret/secretName", name: "s-x-n-x-vc", namespace: None };
    assert_eq!(host_names(&table(), &draft), [used]);
}

#[test]
fn an_annotation_names_objects_of_its_own_namespace() {
    let names = Names::new("vc", "team-a").unwrap();
    let reference = Reference::new("/metadata/annotations/example.com~1secret", "v1/Secret");
    let references = std::slice::from_ref(&reference);
    let after = |text: &str| {
        let json = json!({"metadata": {"namespace": "n", "annotations": {"example.com/secret": text}}});
        let mut draft = HostObject::from_json(json.clone()).unwrap();
        rewrite(references, &names, "n", &mut draft);
        let source = VirtualObject::from_json(json).unwrap();
        let found: Vec<String> = targets(references, &source).iter().map(ToString::to_string).collect();
        (found, draft.annotation("example.com/secret").unwrap().to_owned())
    };
    assert_eq!(after("s"), (vec!["Secret n/s".to_owned()], "s-x-n-x-vc".to_owned()));
    assert_eq!(after("n/s"), (vec!["Secret n/s".to_owned()], "team-a/s-x-n-x-vc".to_owned()));
    for other in ["m/s", "n/", "n/s/t", "/s", "/", "team-a/s-x-m-x-vc"] {
        assert_eq!(after(other), (Vec::new(), other.to_owned()));
        let json = json!({"metadata": {"namespace": "n", "annotations": {"example.com/secret": other}}});
        let source = VirtualObject::from_json(json).unwrap();
        assert_eq!(elsewhere(references, &source), Some((&*reference.path, other)));
    }
}

#[test]
fn a_name_that_several_references_reach_is_translated_once() {
    let names = Names::new("vc", "team-a").unwrap();
    let beside = |path: &str| Reference {
        namespace_field: Some("namespace".to_owned()),
        ..Reference::new(path, "v1/Secret")
    };
    let all = [
        Reference::new("/spec/ref/name", "v1/Secret"),
        Reference::new("/spec/ref/name", "v1/ConfigMap"),
        Reference::new("/spec/*/name", "v1/Secret"),
        beside("/spec/ref/name"),
        beside("/spec/*/name"),
    ];
    for first in 0..all.len() {
        let mut references = all.to_vec();
        references.rotate_left(first);
        let json =
            json!({"metadata": {"namespace": "n"}, "spec": {"ref": {"name": "s"}, "other": {"name": "s"}}});
        let mut draft = HostObject::from_json(json).unwrap();
        rewrite(&references, &names, "n", &mut draft);
        let once = json!({"ref": {"name": "s-x-n-x-vc"}, "other": {"name": "s-x-n-x-vc"}});
        assert_eq!(draft.pointer("/spec"), Some(&once), "{references:?}");
    }
}

/// Places with a namespace in `ns` beside the name.
fn beside(path: &str) -> Reference {
    Reference { namespace_field: Some("ns".to_owned()), ..Reference::new(path, "v1/Secret") }
}

/// The names that `references` find in an object of the namespace `n`, and the object as it is on the host.
fn translated(references: &[Reference], mut json: Value) -> (Vec<String>, Value) {
    json["metadata"] = json!({"namespace": "n"});
    let source = VirtualObject::from_json(json.clone()).unwrap();
    let found = targets(references, &source).iter().map(ToString::to_string).collect();
    let mut draft = HostObject::from_json(json).unwrap();
    rewrite(references, &Names::new("vc", "team-a").unwrap(), "n", &mut draft);
    assert_eq!(misplaced(references, &draft), None);
    draft.fields_mut().remove("metadata");
    (found, Value::Object(draft.into_fields()))
}

#[test]
fn names_share_the_namespace_beside_them() {
    let json = json!({"spec": {"secret": "s", "key": "k", "ns": "m"}});
    let (found, host) = translated(&[beside("/spec/secret"), beside("/spec/key")], json);
    assert_eq!(found, ["Secret m/k", "Secret m/s"]);
    assert_eq!(host, json!({"spec": {"secret": "s-x-m-x-vc", "key": "k-x-m-x-vc", "ns": "team-a"}}));
}

#[test]
fn the_namespace_beside_a_name_counts_also_where_another_reference_reaches_the_name() {
    let json = json!({"spec": {"name": "s", "ns": "m"}});
    let (_, host) = translated(&[Reference::new("/spec/name", "v1/Secret"), beside("/spec/name")], json);
    assert_eq!(host, json!({"spec": {"name": "s-x-m-x-vc", "ns": "team-a"}}));
}

#[test]
fn a_name_with_a_namespace_beside_it_is_reached_wherever_it_lies() {
    for (path, json, host) in [
        ("/name", json!({"name": "s", "ns": "m"}), json!({"name": "s-x-m-x-vc", "ns": "team-a"})),
        ("/a~1b/c~0d", json!({"a/b": {"c~d": "s"}}), json!({"a/b": {"c~d": "s-x-n-x-vc"}})),
    ] {
        let (found, translated) = translated(&[beside(path)], json);
        assert_eq!((found.len(), translated), (1, host), "{path}");
    }
}

#[test]
fn what_is_no_string_where_a_name_belongs_is_found() {
    let mut beside = Reference::new("/spec/ref/name", "v1/Secret");
    beside.namespace_field = Some("namespace".to_owned());
    let references = [table(), vec![beside]].concat();
    let found = |spec: Value| misplaced(&references, &HostObject::from_json(json!({"spec": spec})).unwrap());
    for fine in [
        json!(null),
        json!({"volumes": null, "ref": {"name": null}}),
        json!({"volumes": [null, {"secret": null}, {"secret": {"secretName": "s"}}], "ref": {"name": ""}}),
        json!({"volumes": {"a": {"secret": {"secretName": "s"}}}, "ref": {"name": "a", "namespace": "n"}}),
    ] {
        assert_eq!(found(fine.clone()), None, "{fine}");
    }
    for (spec, place) in [
        (json!([]), "/spec"),
        (json!({"volumes": "all"}), "/spec/volumes"),
        (json!({"volumes": [{"secret": {"secretName": ["s"]}}]}), "/spec/volumes/0/secret/secretName"),
        (json!({"volumes": [{"secret": [{"secretName": "s"}]}]}), "/spec/volumes/0/secret"),
        (json!({"volumes": {"a/b": {"secret": 7}}}), "/spec/volumes/a~1b/secret"),
        (json!({"ref": [{"name": "s"}]}), "/spec/ref"),
        (json!({"ref": {"name": {"is": "s"}}}), "/spec/ref/name"),
        (json!({"ref": {"name": "s", "namespace": ["m"]}}), "/spec/ref/namespace"),
    ] {
        assert_eq!(found(spec.clone()).as_deref(), Some(place), "{spec}");
    }
}

#[test]
fn a_namespace_beside_the_name_is_used_and_becomes_the_hosts() {
    let names = Names::new("vc", "team-a").unwrap();
    let mut reference = Reference::new("/spec/backends/*/name", "v1/Service");
    reference.namespace_field = Some("namespace".to_owned());
    let json = json!({"metadata": {"namespace": "n"}, "spec": {"backends": [{"name": "a", "namespace": "m"}, {"name": "b"}]}});
    let source = VirtualObject::from_json(json.clone()).unwrap();
    let found: Vec<String> =
        targets(std::slice::from_ref(&reference), &source).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["Service m/a", "Service n/b"]);
    let mut draft = HostObject::from_json(json).unwrap();
    rewrite(&[reference], &names, "n", &mut draft);
    assert_eq!(
        draft.pointer("/spec/backends"),
        Some(&json!([{"name": "a-x-m-x-vc", "namespace": "team-a"}, {"name": "b-x-n-x-vc"}]))
    );
}
