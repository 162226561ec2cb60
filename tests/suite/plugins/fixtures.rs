//! Components that were built when a version of the interface was published are loaded for ever.

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
