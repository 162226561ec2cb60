//! The chart beside the program says what the program says: values, their schema, versions, and permissions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use weft::config::{Config, ControlPlane, Values};
use weft::permissions;

/// Writes the generated files where it is set.
const UPDATE: &str = "UPDATE_DOCS";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/weft")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(chart().join(name)).unwrap_or_default()
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap()
}

/// Fails if a generated file is not what it should be.
fn assert_generated(name: &str, wanted: &str) {
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(chart().join(name), wanted).unwrap();
    }
    assert!(
        read(name) == wanted,
        "charts/weft/{name} is stale: run {UPDATE}=1 cargo test -p weft --test chart"
    );
}

fn weft(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weft")).args(arguments).output().unwrap();
    assert!(output.status.success(), "weft {arguments:?} failed: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_schema_and_the_page_of_values_are_what_the_program_prints() {
    assert_generated("values.schema.json", &weft(&["config", "schema", "--values"]));
    assert_generated("VALUES.md", &weft(&["config", "docs", "--values"]));
}

#[test]
fn every_value_is_in_the_file_of_values_with_its_default() {
    let values: Values = serde_json::from_value(yaml("values.yaml")).unwrap();
    assert_eq!(values, Values::default());
    let (written, known) = (yaml("values.yaml"), serde_json::to_value(Values::default()).unwrap());
    let keys =
        |value: &Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(keys(&written), keys(&known));
}

#[test]
fn helm_refuses_what_the_program_refuses() {
    let schema = jsonschema::validator_for(&Values::schema()).unwrap();
    let mut values = yaml("values.yaml");
    assert!(schema.is_valid(&values));
    values["controlPlane"]["stroage"] = "sqlite".into();
    assert!(!schema.is_valid(&values), "a key that does not exist");
    assert!(Values::unknown_keys(&values).contains("controlPlane.stroage: did you mean `storage`?"));
}

#[test]
fn the_rules_for_built_in_kinds_are_those_that_the_program_prints() {
    let config = serde_json::json!({"cluster": {"name": "a", "namespace": "b"}});
    let config: Config = serde_json::from_value(config).unwrap();
    let printed = permissions::of(&config, &[]).namespaced;
    // Events and streams depend on the configuration: see templates/_rules.tpl.
    let builtin: Vec<_> = printed.into_iter().filter(|rule| rule.resources != ["events"]).collect();
    let head =
        format!("# Generated: what every configuration needs. {UPDATE}=1 cargo test -p weft --test chart\n");
    assert_generated("files/rules.yaml", &(head + &serde_saphyr::to_string(&builtin).unwrap()));
}

#[test]
fn the_versions_of_the_chart_are_those_of_the_program_and_of_kubernetes() {
    let chart = yaml("Chart.yaml");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let images = chart["annotations"]["artifacthub.io/images"].as_str().unwrap();
    let kubernetes = ControlPlane::default().version;
    for image in [format!("weft/weft:{}", env!("CARGO_PKG_VERSION")), format!("weft/kubernetes:{kubernetes}")]
    {
        assert!(images.contains(&image), "{image} is not in the list of images: {images}");
    }
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/go.mod");
    let module = std::fs::read_to_string(module).unwrap();
    assert!(
        module.contains(&format!("k8s.io/kubernetes {kubernetes}")),
        "go.mod does not build {kubernetes}"
    );
}
