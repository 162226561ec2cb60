//! The pages beside the code say what the code does: settings, and the reasons of events.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the generated pages where it is set.
const UPDATE: &str = "UPDATE_DOCS";

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What the program prints.
fn weft(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weft")).args(arguments).output().unwrap();
    assert!(output.status.success(), "weft {arguments:?} failed: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_of_settings_is_what_the_program_prints() {
    let (file, printed) = (package().join("SETTINGS.md"), weft(&["config", "docs"]));
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == printed, "host/SETTINGS.md is stale: run {UPDATE}=1 cargo test -p weft --test docs");
}

#[test]
fn the_schema_can_be_used_and_refuses_what_the_program_refuses() {
    let schema = serde_json::from_str(&weft(&["config", "schema"])).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let mut config = serde_json::json!({"cluster": {"name": "my-vcluster", "namespace": "team-a"}});
    assert!(schema.is_valid(&config));
    config["cluster"]["namepsace"] = "team-b".into();
    assert!(!schema.is_valid(&config), "a key that does not exist");
}
