//! Watches: events in order, selectors, bookmarks, and the end of those that come too late.

use anyhow::Result;
use serde_json::{Value, json};

use super::case::{Step, delete, merge, post, same, watch, whole_watch};

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

fn secret(name: &str, labels: &Value) -> Step {
    post("secrets", json!({"metadata": {"name": name, "labels": labels}}))
}

#[test]
fn a_watch_shows_what_has_happened_since_a_revision() -> Result<()> {
    same(&[
        secret("a", &json!({})),
        secret("b", &json!({})),
        merge("secrets/a", json!({"metadata": {"labels": {"x": "y"}}})),
        delete("secrets/b", Value::Null),
        watch("secrets", "resourceVersion={{0/metadata/resourceVersion}}", 3),
        watch("secrets", "resourceVersion={{2/metadata/resourceVersion}}", 1),
    ])
}

#[test]
fn a_watch_without_a_revision_begins_with_what_there_is() -> Result<()> {
    same(&[
        secret("b", &json!({})),
        secret("a", &json!({})),
        watch("secrets", "", 2),
        watch("secrets", "resourceVersion=0", 2),
    ])
}

#[test]
fn a_write_that_changes_nothing_is_no_event() -> Result<()> {
    same(&[
        secret("a", &json!({"x": "y"})),
        merge("secrets/a", json!({"metadata": {"labels": {"x": "y"}}})),
        merge("secrets/a", json!({"metadata": {"labels": {"x": "z"}}})),
        watch("secrets", "resourceVersion={{0/metadata/resourceVersion}}", 1),
    ])
}

#[test]
fn an_object_comes_into_a_selection_and_leaves_it() -> Result<()> {
    same(&[
        secret("a", &json!({})),
        merge("secrets/a", json!({"metadata": {"labels": {"x": "1"}}})),
        merge("secrets/a", json!({"metadata": {"labels": {"x": "1", "y": "1"}}})),
        merge("secrets/a", json!({"metadata": {"labels": {"x": "2"}}})),
        merge("secrets/a", json!({"metadata": {"labels": {"x": "1"}}})),
        delete("secrets/a", Value::Null),
        watch("secrets", "labelSelector=x%3D1&resourceVersion={{0/metadata/resourceVersion}}", 5),
    ])
}

#[test]
fn one_object_can_be_watched() -> Result<()> {
    same(&[
        secret("a", &json!({})),
        secret("b", &json!({})),
        secret("c", &json!({})),
        watch("secrets", "fieldSelector=metadata.name%3Dc&resourceVersion={{0/metadata/resourceVersion}}", 1),
        watch("secrets", "fieldSelector=metadata.name%3Db&resourceVersion=0", 1),
    ])
}

#[test]
fn the_end_of_an_object_with_a_finalizer_is_seen_in_two_steps() -> Result<()> {
    same(&[
        post("configmaps", json!({"metadata": {"name": "a", "finalizers": ["weft.test/held"]}})),
        delete("configmaps/a", Value::Null),
        merge("configmaps/a", json!({"metadata": {"finalizers": null}})),
        watch(
            "configmaps",
            "fieldSelector=metadata.name%3Da&resourceVersion={{0/metadata/resourceVersion}}",
            2,
        ),
    ])
}

#[test]
fn a_watch_is_ended_in_time() -> Result<()> {
    same(&[
        secret("a", &json!({})),
        secret("b", &json!({})),
        whole_watch("secrets", "timeoutSeconds=1&resourceVersion={{0/metadata/resourceVersion}}"),
    ])
}

#[test]
fn a_watch_is_sent_its_place_before_its_end() -> Result<()> {
    same(&[
        secret("a", &json!({})),
        secret("b", &json!({})),
        whole_watch(
            "secrets",
            "timeoutSeconds=5&allowWatchBookmarks=true&resourceVersion={{0/metadata/resourceVersion}}",
        ),
    ])
}

/// Of custom resources a real server remembers nothing from before they were defined.
#[test]
fn a_watch_from_a_forgotten_revision_gets_an_error() -> Result<()> {
    same(&[
        whole_watch("widgets", "resourceVersion=1"),
        whole_watch("widgets", "resourceVersion=1&allowWatchBookmarks=true&labelSelector=x%3D1"),
        whole_watch("widgets", "resourceVersion=1").accepting(METADATA),
    ])
}

#[test]
fn metadata_alone_can_be_watched() -> Result<()> {
    same(&[
        secret("a", &json!({})),
        secret("b", &json!({})),
        delete("secrets/b", Value::Null),
        watch("secrets", "resourceVersion={{0/metadata/resourceVersion}}", 2).accepting(METADATA),
    ])
}

#[test]
fn custom_resources_are_watched_like_others() -> Result<()> {
    let widget =
        json!({"apiVersion": "model.weft.test/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {}});
    same(&[
        post("widgets", widget),
        merge("widgets/a", json!({"spec": {"size": 2}})),
        merge("widgets/a/status", json!({"status": {"ready": true}})),
        delete("widgets/a", Value::Null),
        watch("widgets", "resourceVersion={{0/metadata/resourceVersion}}", 3),
    ])
}

/// Whoever watches a pod sees it marked before it is gone, also when there is no time in between.
#[test]
fn a_pod_is_marked_before_it_ends() -> Result<()> {
    let containers = json!([{"name": "main", "image": "nginx:1"}]);
    let spec =
        json!({"schedulerName": "nobody", "automountServiceAccountToken": false, "containers": containers});
    same(&[
        post("pods", json!({"metadata": {"name": "a"}, "spec": spec})),
        delete("pods/a", Value::Null),
        watch("pods", "resourceVersion={{0/metadata/resourceVersion}}", 2),
    ])
}
