//! Do the commands say of a configuration what the syncer makes of it?

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use weft_tests::binaries;
use weft_tests::guests::rust;
use weft_tests::shared::in_runtime;

/// A folder with the example in Rust, and with a pod.
struct Desk {
    folder: tempfile::TempDir,
    weft: std::path::PathBuf,
}

impl Desk {
    fn new() -> Result<Self> {
        let (component, weft) =
            in_runtime(async { Ok((rust::example("rust-team-label").await?, binaries::weft().await?)) })?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("team-label.wasm"), component)?;
        fs::write(folder.path().join("pod.yaml"), "{apiVersion: v1, kind: Pod, metadata: {name: a}}")?;
        Ok(Self { folder, weft })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command with a configuration that has this for plugins.
    fn run(&self, arguments: &[&str], grants: &str, load: &Value) -> Result<Output> {
        let plugins = json!({"folder": self.path(), "grants": grants, "load": load});
        let config = json!({"cluster": {"name": "a", "namespace": "b"}, "plugins": plugins});
        fs::write(self.path().join("weft.yaml"), config.to_string())?;
        let mut weft = Command::new(&self.weft);
        weft.current_dir(self.path()).args(arguments).args(["--config", "weft.yaml"]);
        weft.output().context("failed to run weft")
    }

    /// Runs it, and fails unless it succeeds and prints `wanted`.
    fn prints(&self, arguments: &[&str], grants: &str, load: &Value, wanted: &str) -> Result<()> {
        let output = self.run(arguments, grants, load)?;
        let (printed, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.success() && printed.contains(wanted),
            "{arguments:?} with {load} printed {printed}, and wrote {errors}"
        );
        Ok(())
    }
}

#[test]
fn commands_grant_what_is_requested_as_a_syncer_does() -> Result<()> {
    let desk = Desk::new()?;
    let explain = ["translate", "-f", "pod.yaml", "-o", "explain"];
    for (load, team) in [(json!({"team-label": {"settings": {"team": "web"}}}), "web"), (json!({}), "none")] {
        desk.prints(&["plugin", "list"], "requested", &load, "team-label")?;
        desk.prints(&["plugin", "check", "team-label.wasm"], "requested", &load, "has all that it needs")?;
        desk.prints(&explain, "requested", &load, &format!("metadata.labels.team: - -> {team:?}"))?;
    }
    Ok(())
}

#[test]
fn settings_beside_a_component_are_used_by_the_commands_as_by_the_syncer() -> Result<()> {
    let desk = Desk::new()?;
    fs::write(desk.path().join("team-label.settings.yaml"), "team: web")?;
    let explain = ["translate", "-f", "pod.yaml", "-o", "explain"];
    for (load, team) in [(json!({}), "web"), (json!({"team-label": {}}), "none")] {
        desk.prints(&explain, "requested", &load, &format!("metadata.labels.team: - -> {team:?}"))?;
    }
    // Whatever is in the file is what `check` tries it with.
    fs::write(desk.path().join("team-label.settings.yaml"), "taem: web")?;
    let output = desk.run(&["plugin", "check", "team-label.wasm"], "requested", &json!({}))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(!output.status.success() && printed.contains("its settings cannot be used"), "{printed}");
    Ok(())
}

#[test]
fn a_wrong_grant_is_shown_beside_the_requested_one() -> Result<()> {
    let desk = Desk::new()?;
    let load = json!({"team-label": {"kinds": ["v1/Pods"]}});
    for grants in ["explicit", "requested"] {
        let output = desk.run(&["plugin", "list"], grants, &load)?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(printed.contains("map v1/Pod (mutate(200)): add it to `kinds` beside v1/Pods"), "{printed}");
    }
    Ok(())
}

#[test]
fn a_project_is_built_on_demand_into_one_component_with_the_plugins_name() -> Result<()> {
    let desk = Desk::new()?;
    let project = desk.path().join("project");
    fs::create_dir_all(project.join(".venv/bin"))?;
    for (file, text) in [
        (".venv/bin/componentize-py", ""),
        ("requirements.txt", ""),
        ("plugin.py", ""),
        ("build.sh", "mkdir -p dist && cp ../team-label.wasm dist/another-name.wasm"),
    ] {
        fs::write(project.join(file), text)?;
    }
    for is_built in [true, false] {
        let output = desk.run(&["plugin", "check", "project"], "requested", &json!({}))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && errors.contains("building the plugin") == is_built, "{errors}");
        let made = fs::read_dir(project.join("dist"))?.map(|entry| Ok(entry?.file_name()));
        let made = made.collect::<Result<Vec<_>>>()?;
        ensure!(made == ["team-label.wasm"], "{made:?}");
    }
    Ok(())
}
