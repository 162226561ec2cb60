//! Deletions: preconditions, finalizers, grace periods, and what is answered.

use anyhow::Result;
use serde_json::{Value, json};

use super::case::{delete, get, merge, post, put, same};

fn held(name: &str) -> Value {
    json!({"metadata": {"name": name, "finalizers": ["weft.test/held"]}})
}

#[test]
fn an_object_is_deleted() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}})),
        delete("configmaps/a", Value::Null),
        get("configmaps/a"),
        delete("configmaps/a", Value::Null),
        post("configmaps", json!({"metadata": {"name": "a"}})),
    ])
}

#[test]
fn a_deletion_is_answered_with_a_status_or_with_the_object() -> Result<()> {
    let widget = json!({"apiVersion": "model.weft.test/v1", "kind": "Widget", "metadata": {"name": "a"}});
    let slice = json!({"metadata": {"name": "a"}, "addressType": "IPv4", "ports": [], "endpoints": []});
    let subject = json!({"kind": "ConfigMap", "name": "a", "namespace": "NAMESPACE"});
    same(&[
        post("secrets", json!({"metadata": {"name": "a"}})),
        delete("secrets/a", Value::Null),
        post("serviceaccounts", json!({"metadata": {"name": "a"}})).sees(&["/metadata/name"]),
        delete("serviceaccounts/a", Value::Null).sees(&["/kind", "/metadata/name"]),
        post("widgets", widget),
        delete("widgets/a", Value::Null),
        post("endpointslices", slice).sees(&[]),
        delete("endpointslices/a", Value::Null),
        post("events", json!({"metadata": {"name": "a"}, "involvedObject": subject, "reason": "R"}))
            .sees(&["/reason"]),
        delete("events/a", Value::Null),
        post("endpoints", json!({"metadata": {"name": "a"}})),
        delete("endpoints/a", Value::Null),
    ])
}

#[test]
fn a_deletion_may_name_the_uid_and_the_version_it_means() -> Result<()> {
    let options = |preconditions: Value| json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
    same(&[
        post("configmaps", json!({"metadata": {"name": "a"}})),
        delete("configmaps/a", options(json!({"uid": "another"}))),
        merge("configmaps/a", json!({"data": {"k": "v"}})),
        delete("configmaps/a", options(json!({"resourceVersion": "{{0/metadata/resourceVersion}}"}))),
        delete(
            "configmaps/a",
            options(
                json!({"uid": "{{0/metadata/uid}}", "resourceVersion": "{{2/metadata/resourceVersion}}"}),
            ),
        ),
        get("configmaps/a"),
        delete("configmaps/none", options(json!({"uid": "another"}))),
    ])
}

#[test]
fn an_object_with_a_finalizer_stays_until_it_is_gone() -> Result<()> {
    same(&[
        post("configmaps", held("a")),
        delete("configmaps/a", json!({"propagationPolicy": "Background"})),
        get("configmaps/a"),
        delete("configmaps/a", Value::Null),
        merge("configmaps/a", json!({"data": {"k": "v"}})),
        post("configmaps", json!({"metadata": {"name": "a"}})),
        merge("configmaps/a", json!({"metadata": {"finalizers": null}})),
        get("configmaps/a"),
        post("configmaps", json!({"metadata": {"name": "a"}})),
    ])
}

#[test]
fn what_is_being_deleted_gets_no_new_finalizer_and_no_new_life() -> Result<()> {
    same(&[
        post("configmaps", held("a")),
        delete("configmaps/a", Value::Null),
        merge("configmaps/a", json!({"metadata": {"finalizers": ["weft.test/held", "weft.test/more"]}})),
        merge(
            "configmaps/a",
            json!({"metadata": {"deletionTimestamp": null, "deletionGracePeriodSeconds": null}}),
        ),
        put("configmaps/a", held("a")),
        put("configmaps/a", json!({"metadata": {"name": "a"}})),
        get("configmaps/a"),
    ])
}

#[test]
fn the_last_of_two_finalizers_decides() -> Result<()> {
    let widget = json!({
        "apiVersion": "model.weft.test/v1", "kind": "Widget",
        "metadata": {"name": "a", "finalizers": ["weft.test/one", "weft.test/two"]}, "spec": {"size": 1},
    });
    same(&[
        post("widgets", widget),
        delete("widgets/a", Value::Null),
        merge("widgets/a", json!({"metadata": {"finalizers": ["weft.test/two"]}})),
        merge("widgets/a", json!({"metadata": {"finalizers": []}})),
        get("widgets/a"),
    ])
}

#[test]
fn a_claim_is_protected() -> Result<()> {
    let claim = json!({"metadata": {"name": "a", "finalizers": ["weft.test/held"]}, "spec": {
        "storageClassName": "no-such", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }});
    same(&[
        post("persistentvolumeclaims", claim).sees(&["/metadata/finalizers", "/status"]),
        delete("persistentvolumeclaims/a", Value::Null).sees(&[
            "/kind",
            "/metadata/deletionTimestamp",
            "/metadata/deletionGracePeriodSeconds",
        ]),
    ])
}

#[test]
fn a_namespace_ends_with_all_that_is_in_it() -> Result<()> {
    let service = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    same(&[
        get("/api/v1/namespaces/NAMESPACE"),
        post("configmaps", json!({"metadata": {"name": "a"}})),
        post("services", service).sees(&["/metadata/name"]),
        delete("/api/v1/namespaces/NAMESPACE", json!({"preconditions": {"uid": "another"}})),
        delete("/api/v1/namespaces/NAMESPACE", json!({"preconditions": {"uid": "{{0/metadata/uid}}"}})),
        get("/api/v1/namespaces/NAMESPACE").until(404),
        get("services/a"),
        get("configmaps?labelSelector=!none"),
    ])
}
