//! Components that were built for an earlier 0.1 still load.
//!
//! `fixtures/mapping-0.1.0/team-label.wasm` is what `weft plugin build examples/rust-team-label` made at the start of the
//! line. Once 0.1.0 is published it is never rebuilt; a change of the interface gets a folder of its own.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weft::author::workbench::{self, Workbench};
use weft::config::grants::Entry;
use weft_core::object::VirtualObject;

#[test]
fn a_component_of_every_published_version_is_loaded_and_called() -> Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut loaded = 0;
    for entry in fs::read_dir(&fixtures)? {
        let file = entry?.path().join("team-label.wasm");
        let entry: Entry = serde_json::from_value(json!({"settings": {"team": "web"}}))?;
        let mut bench = Workbench::new(None, &[])?;
        bench.load(&file, Some(entry))?;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "image": "nginx"}]},
        });
        let Some(pod) = VirtualObject::from_json(pod) else { continue };
        let host = bench.to_host(&workbench::surroundings()?, &pod, None)?.result;
        let labels = host.map(|host| host.into_json().pointer("/metadata/labels/team").cloned());
        ensure!(labels == Ok(Some(Value::from("web"))), "{}: {labels:?}", file.display());
        loaded += 1;
    }
    ensure!(loaded > 0, "there are no fixtures in {}", fixtures.display());
    Ok(())
}
