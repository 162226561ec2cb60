//! Edits that the guard refuses, and edits that it lets pass.

mod rows;

use anyhow::{Result, ensure};
use serde_json::json;
use weft_core::object::VirtualObject;

use super::bench::{Bench, all, config_map, ensure_says, pod};
use rows::{
    OURS, OUTSIDE, Row, action, add, container, of_container_powers, of_identity, of_node_powers,
    of_pod_powers, of_references, of_reserved_metadata, row, volume,
};

fn check(bench: &Bench, row: &Row, source: &VirtualObject) -> Result<()> {
    ensure_says(&bench.fault(source)?, "PluginRefused", row.field, row.words)
}

#[test]
fn edits_of_a_pod_that_must_be_refused_are_refused_by_field() -> Result<()> {
    let bench = Bench::new()?;
    let tables = [
        of_identity(),
        of_reserved_metadata(),
        of_pod_powers(),
        of_container_powers(),
        of_node_powers(),
        of_references(),
    ];
    let rows: Vec<Row> = tables.into_iter().flatten().collect();
    ensure!(rows.len() > 70, "rows are missing");
    all(rows.iter().map(|row| {
        (row.title, pod(action(&row.edit), &row.edit).and_then(|source| check(&bench, row, &source)))
    }))
}

#[test]
fn edits_of_a_config_map_that_must_be_refused_are_refused_by_field() -> Result<()> {
    let bench = Bench::new()?;
    let mut rows = of_reserved_metadata();
    rows.extend(
        of_identity().into_iter().filter(|row| row.field.starts_with("metadata.") && row.edit.is_object()),
    );
    rows.push(row("data outside of its writes", json!({"binaryData": {"a": "AA=="}}), "binaryData", OUTSIDE));
    rows.push(row("an irreversible field", json!({"immutable": true}), "immutable", OUTSIDE));
    rows.push(row("a spec", json!({"spec": {"a": 1}}), "spec", OUTSIDE));
    all(rows.iter().map(|row| {
        (row.title, config_map(action(&row.edit), &row.edit).and_then(|source| check(&bench, row, &source)))
    }))
}

#[test]
fn a_whole_object_is_checked_as_an_edit_is() -> Result<()> {
    let bench = Bench::new()?;
    for (title, whole, field) in [
        ("nothing", json!({}), "apiVersion"),
        ("another object", json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}), "kind"),
    ] {
        let problem = bench.fault(&pod("whole", &whole)?)?;
        ensure_says(&problem, "PluginRefused", field, OURS).map_err(|error| error.context(title))?;
    }
    Ok(())
}

/// Valid edits pass; otherwise the refusals above would mean nothing.
#[test]
fn a_valid_edit_passes() -> Result<()> {
    let bench = Bench::new()?;
    let quiet = json!({"securityContext": {"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}}});
    for (edit, pointer, value) in [
        (
            add("/spec/containers/0/image", json!("mirror/nginx:1")),
            "/spec/containers/0/image",
            json!("mirror/nginx:1"),
        ),
        (json!({"metadata": {"labels": {"team": "a"}}}), "/metadata/labels/team", json!("a")),
        (json!({"metadata": {"annotations": {"note": "a"}}}), "/metadata/annotations/note", json!("a")),
        (container(quiet), "/spec/containers/1/name", json!("more")),
        (
            volume(json!({"secret": {"secretName": "db-x-shop-x-my-vcluster"}})),
            "/spec/volumes/2/secret/secretName",
            json!("db-x-shop-x-my-vcluster"),
        ),
        (
            json!([{"op": "move", "from": "/spec/volumes/0", "path": "/spec/volumes/-"}]),
            "/spec/volumes/1/hostPath/path",
            json!("/var/log/app"),
        ),
        (json!({"spec": {"tolerations": [{"key": "gpu"}]}}), "/spec/tolerations/0/key", json!("gpu")),
    ] {
        let host = bench.admitted(&pod(action(&edit), &edit)?)?;
        ensure!(host.pointer(pointer) == Some(&value), "{edit} resulted in {:?}", host.pointer(pointer));
    }
    let host = bench.admitted(&config_map("merge", &json!({"data": {"mode": "slow"}}))?)?;
    ensure!(host.text("/data/mode") == Some("slow"), "the change of the data is lost");
    Ok(())
}

#[test]
fn edits_of_the_tenants_object_outside_virtual_writes_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    let outside: &[&str] = &["virtual-writes"];
    let forged = json!([{"type": "other.plugins.weft.dev/Ready", "status": "True"}]);
    let rows = [
        row("a spec", json!({"spec": {"hostname": "x"}}), "spec.hostname", outside),
        row("a label", json!({"metadata": {"labels": {"a": "b"}}}), "metadata.labels.a", outside),
        row("a finalizer", json!({"metadata": {"finalizers": ["a.b/c"]}}), "metadata.finalizers", outside),
        row("another name", json!({"metadata": {"name": "x"}}), "metadata.name", outside),
        row("another kind", json!({"kind": "Secret"}), "kind", outside),
        row("data", json!({"data": {"a": "b"}}), "data", outside),
        row(
            "a condition of another plugin",
            json!({"status": {"conditions": forged}}),
            "status.conditions",
            &["come with their answers"],
        ),
    ];
    all(rows.iter().map(|row| (row.title, check_back(&bench, row))))
}

fn check_back(bench: &Bench, row: &Row) -> Result<()> {
    let (current, result, notes) = bench.back(action(&row.edit), &row.edit)?;
    ensure!(result.into_json() == current.into_json(), "something was written");
    let (_, failures) = notes.into_parts();
    let [problem] = failures.as_slice() else { anyhow::bail!("there are {failures:?}") };
    ensure_says(problem, "PluginRefused", row.field, row.words)
}

#[test]
fn a_valid_status_is_synced_back() -> Result<()> {
    let (_, result, notes) = Bench::new()?.back("merge", &json!({"status": {"message": "nearly there"}}))?;
    ensure!(result.text("/status/message") == Some("nearly there"), "{}", result.into_json());
    ensure!(notes.into_parts().1.is_empty(), "there are failures");
    Ok(())
}
