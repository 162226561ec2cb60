//! Lists: pages, revisions, selectors, and metadata alone.

use anyhow::Result;
use serde_json::{Value, json};

use super::case::{Step, delete, get, post, same};

/// What a place at the start of everything is called by a continue token; every server has forgotten it.
const FORGOTTEN: &str = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Miwic3RhcnQiOiJhXHUwMDAwIn0";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

fn secret(name: &str, labels: &Value) -> Step {
    post("secrets", json!({"metadata": {"name": name, "labels": labels}}))
}

#[test]
fn a_list_comes_in_pages_of_one_revision() -> Result<()> {
    let plain = |name: &str| secret(name, &json!({"in": "list"}));
    same(&[
        plain("c"),
        plain("a"),
        plain("b"),
        get("secrets?limit=2"),
        plain("d"),
        delete("secrets/c", json!({})),
        get("secrets?limit=2&continue={{3/metadata/continue}}"),
        get("secrets?limit=2"),
        get("secrets?limit=9"),
        get("secrets"),
    ])
}

#[test]
fn a_page_says_how_many_are_left_unless_it_selects() -> Result<()> {
    same(&[
        secret("a", &json!({"x": "1"})),
        secret("b", &json!({"x": "2"})),
        secret("c", &json!({"x": "1"})),
        get("secrets?limit=1"),
        get("secrets?limit=1&labelSelector=x%3D1"),
        get("secrets?limit=1&labelSelector=x%3D1&continue={{4/metadata/continue}}"),
        get("secrets?limit=1&labelSelector=x%3D3"),
    ])
}

#[test]
fn a_token_that_is_none_is_refused() -> Result<()> {
    same(&[
        get("secrets?limit=1&continue=nonsense"),
        secret("a", &json!({})),
        secret("b", &json!({})),
        get("secrets?limit=1"),
        get(
            "secrets?limit=1&continue={{3/metadata/continue}}&resourceVersion={{1/metadata/resourceVersion}}",
        ),
    ])
}

/// Of custom resources the cache of a real server has nothing from before they were defined, and its storage forgets it.
#[test]
fn a_list_goes_not_on_from_a_forgotten_revision() -> Result<()> {
    same(&[
        get(&format!("widgets?limit=1&continue={FORGOTTEN}")),
        get(&format!("widgets?continue={FORGOTTEN}&labelSelector=x%3D1")),
        get("widgets?resourceVersion=2&resourceVersionMatch=Exact"),
    ])
}

#[test]
fn a_list_may_be_of_a_revision() -> Result<()> {
    same(&[
        secret("a", &json!({})),
        secret("b", &json!({})),
        get("secrets?resourceVersion={{0/metadata/resourceVersion}}&resourceVersionMatch=Exact"),
        get("secrets?resourceVersion={{1/metadata/resourceVersion}}&resourceVersionMatch=NotOlderThan"),
        get("secrets?resourceVersion={{1/metadata/resourceVersion}}"),
        get("secrets?resourceVersionMatch=Exact").sees(&[]).until(422),
        get("secrets?resourceVersion=0&resourceVersionMatch=Exact").sees(&[]).until(422),
        get("secrets?resourceVersion=abc").sees(&[]),
    ])
}

#[test]
fn what_is_still_to_come_is_not_listed() -> Result<()> {
    same(&[
        get("secrets?resourceVersion=9000000000&resourceVersionMatch=NotOlderThan").until(504),
        get("secrets/none?resourceVersion=9000000000").until(504),
    ])
}

#[test]
fn labels_select() -> Result<()> {
    let names = |selector: &str| get(&format!("secrets?labelSelector={selector}"));
    same(&[
        secret("a", &json!({"x": "1", "y": "1"})),
        secret("b", &json!({"x": "2"})),
        secret("c", &json!({"y": "1"})),
        names("x%3D1"),
        names("x%3D%3D1,y"),
        names("x!%3D1"),
        names("!x"),
        names("x%20in%20(1,2)"),
        names("x%20notin%20(1),y"),
        names("weft.dev%2Fnone"),
        names("x%20in").sees(&[]),
        names("a%3D%3D%3Db").sees(&[]),
    ])
}

#[test]
fn fields_select() -> Result<()> {
    same(&[
        secret("a", &json!({})),
        secret("b", &json!({})),
        get("secrets?fieldSelector=metadata.name%3Da"),
        get("secrets?fieldSelector=metadata.name!%3Da"),
        get("secrets?fieldSelector=type%3DOpaque,metadata.name%3Db"),
        get("secrets?fieldSelector=data.k%3Da"),
        get("configmaps?fieldSelector=metadata.name%3Dnone"),
        get("/api/v1/namespaces?fieldSelector=metadata.name%3DNAMESPACE")
            .sees(&["/items/0/metadata/name", "/items/1"]),
    ])
}

#[test]
fn a_list_of_everywhere_has_what_is_in_each_namespace() -> Result<()> {
    same(&[
        secret("only-here", &json!({"only": "here"})),
        get("/api/v1/secrets?fieldSelector=metadata.namespace%3DNAMESPACE"),
        get("/api/v1/secrets?fieldSelector=metadata.namespace%3DNAMESPACE,metadata.name%3Dother"),
    ])
}

#[test]
fn metadata_alone_can_be_listed() -> Result<()> {
    same(&[
        secret("a", &json!({"x": "y"})),
        get("secrets").accepting(METADATA),
        get("secrets?limit=1&labelSelector=x%3Dnone").accepting(METADATA).sees(&["/kind", "/apiVersion"]),
        get("secrets/a").accepting("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
    ])
}

#[test]
fn custom_resources_say_in_a_list_what_they_are() -> Result<()> {
    let widget = json!({"apiVersion": "model.weft.test/v1", "kind": "Widget", "metadata": {"name": "a"}});
    same(&[post("widgets", widget), get("widgets"), get("secrets"), get("pods")])
}
