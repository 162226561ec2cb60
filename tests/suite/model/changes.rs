//! Changes of objects: conflicts, patches in three formats, status apart from the rest, and writes that change nothing.

use anyhow::Result;
use serde_json::{Value, json};

use super::case::{get, json_patch, merge, post, put, same, strategic};

fn widget(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "model.weft.test/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn a_replacement_of_another_version_is_a_conflict() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}})),
        merge("configmaps/a", json!({"data": {"k": "v"}})),
        put(
            "configmaps/a",
            json!({"metadata": {"name": "a", "resourceVersion": "{{0/metadata/resourceVersion}}"}}),
        ),
        put(
            "configmaps/a",
            json!({"metadata": {"name": "a", "resourceVersion": "{{1/metadata/resourceVersion}}"}, "data": {"k": "w"}}),
        ),
        put("configmaps/a", json!({"metadata": {"name": "a"}, "data": {"k": "x"}})),
        get("configmaps/a"),
    ])
}

#[test]
fn a_patch_may_name_the_uid_and_the_version_it_means() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}})),
        merge("configmaps/a", json!({"metadata": {"uid": "another"}, "data": {"k": "v"}})),
        merge("configmaps/a", json!({"metadata": {"uid": "{{0/metadata/uid}}"}, "data": {"k": "v"}})),
        merge(
            "configmaps/a",
            json!({"metadata": {"resourceVersion": "{{0/metadata/resourceVersion}}"}, "data": {"k": "w"}}),
        ),
        merge(
            "configmaps/a",
            json!({"metadata": {"resourceVersion": "{{2/metadata/resourceVersion}}"}, "data": {"k": "w"}}),
        ),
        strategic("configmaps/a", json!({"metadata": {"uid": "another"}, "data": {"k": "x"}})),
        merge("configmaps/none", json!({"metadata": {"uid": "another"}})),
    ])
}

#[test]
fn a_custom_resource_may_name_the_uid_and_the_version_it_means() -> Result<()> {
    same(&[
        post("widgets", widget("a", &json!({"size": 1}))),
        merge("widgets/a", json!({"metadata": {"uid": "another"}, "spec": {"size": 2}})),
        merge("widgets/a", json!({"metadata": {"resourceVersion": "1"}, "spec": {"size": 2}})),
        merge("widgets/a", json!({"metadata": {"uid": "{{0/metadata/uid}}"}, "spec": {"size": 2}})),
        put("widgets/a", widget("a", &json!({"size": 3}))),
    ])
}

#[test]
fn a_merge_patch_sets_removes_and_replaces() -> Result<()> {
    same(&[
        post(
            "configmaps",
            json!({"metadata": {"name": "a", "labels": {"x": "1", "y": "2"}, "finalizers": ["weft.test/a"]}, "data": {"k": "v", "l": "v"}}),
        ),
        merge("configmaps/a", json!({"metadata": {"labels": {"x": null, "z": "3"}}, "data": {"k": null}})),
        merge("configmaps/a", json!({"metadata": {"labels": null, "finalizers": ["weft.test/b"]}})),
        merge("configmaps/a", json!({"data": null})),
        merge("configmaps/a", json!({"metadata": {"name": "b"}})),
    ])
}

#[test]
fn a_patch_that_changes_nothing_writes_nothing() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}})),
        merge("configmaps/a", json!({"data": {"k": "v"}})),
        merge("configmaps/a", json!({"metadata": {"annotations": {"none": null}}})),
        merge("configmaps/a", json!({})),
        strategic("configmaps/a", json!({"data": {"k": "v"}})),
        json_patch("configmaps/a", json!([{"op": "replace", "path": "/data/k", "value": "v"}])),
        put("configmaps/a", json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}})),
        post("widgets", widget("a", &json!({"size": 1}))),
        merge("widgets/a", json!({"spec": {"size": 1}})),
        merge("widgets/a/status", json!({"status": null})),
    ])
}

#[test]
fn a_json_patch_tests_and_fails_as_a_whole() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}, "data": {"k": "v"}})),
        json_patch(
            "configmaps/a",
            json!([{"op": "test", "path": "/data/k", "value": "v"}, {"op": "add", "path": "/data/l", "value": "w"}]),
        ),
        json_patch(
            "configmaps/a",
            json!([{"op": "remove", "path": "/data/l"}, {"op": "test", "path": "/data/k", "value": "other"}]),
        ),
        json_patch("configmaps/a", json!([{"op": "remove", "path": "/data/none"}])),
        json_patch("configmaps/a", json!({"op": "remove"})),
        get("configmaps/a"),
    ])
}

#[test]
fn a_strategic_patch_is_not_for_custom_resources() -> Result<()> {
    same(&[
        post("widgets", widget("a", &json!({"size": 1}))),
        strategic("widgets/a", json!({"spec": {"size": 2}})),
    ])
}

#[test]
fn the_status_of_a_custom_resource_is_written_apart() -> Result<()> {
    same(&[
        post(
            "widgets",
            json!({"apiVersion": "model.weft.test/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"size": 1}, "status": {"ready": true}}),
        ),
        merge(
            "widgets/a/status",
            json!({"spec": {"size": 9}, "status": {"ready": true}, "metadata": {"labels": {"x": "y"}}}),
        ),
        merge("widgets/a", json!({"spec": {"size": 2}, "status": {"ready": false}})),
        get("widgets/a/status"),
        put(
            "widgets/a/status",
            json!({
                "apiVersion": "model.weft.test/v1", "kind": "Widget", "status": {"ready": false},
                "metadata": {"name": "a", "resourceVersion": "{{2/metadata/resourceVersion}}"},
            }),
        ),
        merge("widgets/a/status", json!({"metadata": {"uid": "another"}, "status": {"ready": true}})),
    ])
}

#[test]
fn a_generation_counts_what_is_wanted() -> Result<()> {
    same(&[
        post("widgets", widget("a", &json!({"size": 1}))),
        merge("widgets/a", json!({"metadata": {"labels": {"x": "y"}}})).sees(&["/metadata/generation"]),
        merge("widgets/a", json!({"spec": {"size": 2}})).sees(&["/metadata/generation"]),
        merge("widgets/a", json!({"metadata": {"generation": 9}})).sees(&["/metadata/generation"]),
        merge("widgets/a/status", json!({"status": {"ready": true}})).sees(&["/metadata/generation"]),
        post("configmaps", json!({"metadata": {"name": "a"}})).sees(&["/metadata/generation"]),
    ])
}

#[test]
fn an_endpoint_slice_has_a_generation() -> Result<()> {
    let slice = json!({"metadata": {"name": "a"}, "addressType": "IPv4", "ports": [], "endpoints": []});
    same(&[
        post("endpointslices", slice).sees(&["/metadata/generation"]),
        merge("endpointslices/a", json!({"endpoints": [{"addresses": ["10.0.0.1"]}]}))
            .sees(&["/metadata/generation"]),
        merge("endpointslices/a", json!({"metadata": {"annotations": {"x": "y"}}}))
            .sees(&["/metadata/generation"]),
        merge("endpointslices/a", json!({"metadata": {"labels": {"x": "y"}}}))
            .sees(&["/metadata/generation"]),
    ])
}

#[test]
fn what_the_server_sets_cannot_be_changed() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}})),
        merge("configmaps/a", json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}})),
        merge("configmaps/a", json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}})).sees(&[]),
        merge("configmaps/a", json!({"metadata": {"uid": null, "creationTimestamp": null}})),
        merge("configmaps/a", json!({"metadata": {"generateName": "x-"}})),
    ])
}

#[test]
fn a_claim_stays_as_it_was_made() -> Result<()> {
    let claim = json!({"metadata": {"name": "a"}, "spec": {
        "storageClassName": "no-such", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }});
    same(&[
        post("persistentvolumeclaims", claim),
        merge("persistentvolumeclaims/a", json!({"spec": {"accessModes": ["ReadWriteMany"]}})),
        merge("persistentvolumeclaims/a", json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}})),
        merge("persistentvolumeclaims/a", json!({"metadata": {"labels": {"x": "y"}}}))
            .sees(&["/metadata/labels", "/spec"]),
    ])
}

#[test]
fn a_strategic_patch_merges_what_has_a_key() -> Result<()> {
    let mounts = |list: Value| strategic("serviceaccounts/a", json!({"secrets": list}));
    same(&[
        post("configmaps", json!({"metadata": {"name": "a", "finalizers": ["weft.test/a", "weft.test/b"]}})),
        strategic("configmaps/a", json!({"metadata": {"finalizers": ["weft.test/c", "weft.test/b"]}})),
        strategic("configmaps/a", json!({"metadata": {"labels": {"x": "y"}}, "data": {"k": "v"}})),
        strategic("configmaps/a", json!({"data": {"$patch": "replace", "l": "w"}})),
        strategic("configmaps/a", json!({"data": null})),
        post("serviceaccounts", json!({"metadata": {"name": "a"}})),
        mounts(json!([{"name": "one"}, {"name": "two"}])),
        mounts(json!([{"name": "three"}, {"name": "one"}])),
        mounts(json!([{"name": "two", "$patch": "delete"}])),
        mounts(json!([{"no": "key"}])),
        mounts(json!([{"$patch": "replace"}, {"name": "four"}])),
        strategic("serviceaccounts/a", json!({"imagePullSecrets": [{"name": "one"}]})),
        strategic("serviceaccounts/a", json!({"imagePullSecrets": [{"name": "two"}]})),
    ])
}
