//! ConfigMaps, Secrets and whatever has no rules of its own: creation, names, and what is refused.

use anyhow::Result;
use serde_json::json;

use super::case::{delete, get, merge, post, put, same};

#[test]
fn an_object_is_created_and_read() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}})),
        get("configmaps/a"),
        get("configmaps/b"),
    ])
}

#[test]
fn a_name_is_taken_once() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}})),
        post("configmaps", json!({"metadata": {"name": "a"}, "data": {"k": "v"}})),
        get("configmaps/a"),
    ])
}

#[test]
fn a_name_is_generated() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"generateName": "web-"}})),
        post("configmaps", json!({"metadata": {"generateName": "web-"}})),
        post("configmaps", json!({"metadata": {"generateName": "web-", "name": "a"}})),
        get("configmaps/{{0/metadata/name}}"),
    ])
}

#[test]
fn a_name_is_needed_and_must_be_one_of_dns() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {}})),
        post("configmaps", json!({"metadata": {"name": "A_b"}})),
        post("services", json!({"metadata": {"name": "a.b"}, "spec": {"ports": [{"port": 80}]}})),
        post(
            "widgets",
            json!({"apiVersion": "model.weft.test/v1", "kind": "Widget", "metadata": {"name": "-"}}),
        ),
    ])
}

#[test]
fn what_only_the_server_sets_is_ignored_in_a_new_object() -> Result<()> {
    same(&[
        post(
            "configmaps",
            json!({"metadata": {
                "name": "a", "uid": "mine", "generation": 7, "creationTimestamp": "2020-01-01T00:00:00Z",
                "deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 3,
            }}),
        ),
        post("configmaps", json!({"metadata": {"name": "b", "resourceVersion": "7"}})),
    ])
}

#[test]
fn a_body_must_be_of_the_path() -> Result<()> {
    same(&[
        post("configmaps", json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}})),
        post("configmaps", json!({"metadata": {"name": "a", "namespace": "other"}})),
        post("configmaps", json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}})),
        put("configmaps/a", json!({"metadata": {"name": "b"}})),
        put("configmaps/a", json!({"metadata": {"name": "a", "namespace": "other"}})),
        put("configmaps/none", json!({"metadata": {"name": "none"}})),
    ])
}

#[test]
fn a_path_or_a_method_that_is_not_served_is_refused() -> Result<()> {
    same(&[
        get("inventions").sees(&[]),
        post("/api/v1/configmaps", json!({"metadata": {"name": "a"}})),
        post("configmaps/a", json!({"metadata": {"name": "a"}})),
        put("configmaps", json!({"metadata": {"name": "a"}})),
        get("/apis/model.weft.test/v1/namespaces/NAMESPACE/gadgets").until(404),
    ])
}

#[test]
fn a_body_in_another_format_is_refused() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}})).in_format("text/plain"),
        post("configmaps", json!({"metadata": {"name": "a"}})),
        merge("configmaps/a", json!({"data": {"k": "v"}})).in_format("application/json"),
    ])
}

#[test]
fn labels_and_finalizers_are_validated() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a", "labels": {"x": "not valid"}}})),
        post("configmaps", json!({"metadata": {"name": "a", "labels": {"x/y/z": "v"}}})),
        post("secrets", json!({"metadata": {"name": "a", "finalizers": ["not valid"]}})),
    ])
}

#[test]
fn keys_of_configs_are_validated() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}, "data": {"a/b": "v"}})),
        post("configmaps", json!({"metadata": {"name": "a"}, "data": {"..": "v"}})),
        post("configmaps", json!({"metadata": {"name": "a"}, "binaryData": {"a": "AAAA"}})),
    ])
}

#[test]
fn an_immutable_config_stays_as_it_is() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}, "data": {"k": "v"}, "immutable": true})),
        merge("configmaps/a", json!({"data": {"k": "w"}})),
        merge("configmaps/a", json!({"immutable": null})),
        merge("configmaps/a", json!({"metadata": {"labels": {"x": "y"}}})),
        post("secrets", json!({"metadata": {"name": "a"}, "immutable": true})),
        merge("secrets/a", json!({"data": {"k": "AAAA"}})),
    ])
}

#[test]
fn a_secret_has_a_type_and_encoded_data() -> Result<()> {
    same(&[
        post("secrets", json!({"metadata": {"name": "a"}, "stringData": {"k": "v"}, "data": {"l": "AAAA"}})),
        merge("secrets/a", json!({"type": "other"})),
        merge("secrets/a", json!({"stringData": {"k": "w"}})),
        post("secrets", json!({"metadata": {"name": "b"}, "data": {"l": "?"}})),
    ])
}

#[test]
fn what_is_created_needs_a_namespace_that_stays() -> Result<()> {
    let held = json!({"metadata": {"name": "held", "finalizers": ["weft.test/held"]}});
    same(&[
        post("/api/v1/namespaces/no-such/configmaps", json!({"metadata": {"name": "a"}})),
        post("configmaps", held),
        delete("/api/v1/namespaces/NAMESPACE", json!({})).sees(&["/status/phase", "/spec"]),
        post("configmaps", json!({"metadata": {"name": "late"}})),
        merge("configmaps/held", json!({"metadata": {"finalizers": null}})).sees(&["/metadata/name"]),
        get("/api/v1/namespaces/NAMESPACE").until(404),
        get("configmaps/held"),
    ])
}

#[test]
fn a_dry_run_stores_nothing() -> Result<()> {
    same(&[
        post("configmaps?dryRun=All", json!({"metadata": {"name": "a"}})).sees(&["/metadata/name", "/kind"]),
        get("configmaps/a"),
        post("configmaps", json!({"metadata": {"name": "a"}})),
        merge("configmaps/a?dryRun=All", json!({"data": {"k": "v"}}))
            .sees(&["/data", "/metadata/resourceVersion"]),
        get("configmaps/a"),
        delete("configmaps/a?dryRun=All", json!({})),
        get("configmaps/a"),
    ])
}
