//! The recorded cases of all first-party plugins and examples, in every language.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use weft::author::cases::{Case, compare, with_reason};
use weft::author::workbench::Workbench;
use weft_core::verdict::Word;
use weft_tests::guests::toolchains::{self, Guest};
use weft_tests::guests::{compiled, rust};
use weft_tests::shared::in_runtime;

/// Runs every case in the folder of a plugin, twice.
fn run_cases(folder: &Path, component: &Path) -> Result<()> {
    let bench = Workbench::new(Some(&compiled()?), &[])?;
    let plugin = bench.examine(component)?;
    let mut wrong = Vec::new();
    let files = cases(folder)?;
    ensure!(!files.is_empty(), "{} has no cases", folder.display());
    for file in files {
        let case = Case::load(&file)?;
        let outcome = case.run(&bench, &plugin)?;
        ensure!(
            case.run(&bench, &plugin)? == outcome,
            "two runs of {} have different outcomes",
            file.display()
        );
        let differences = compare(&case.expect, &outcome);
        if !differences.is_empty() {
            wrong.push(format!("{}: {differences:?}", file.display()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn cases(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder.join("cases")).with_context(|| format!("{} has no cases", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

/// Builds a plugin in Rust and runs its cases.
fn rust_plugin(folder: &str) -> Result<()> {
    in_runtime(async {
        let folder = rust::root().join(folder);
        let bytes = rust::component(&folder).await?;
        let scratch = tempfile::tempdir()?;
        let component = scratch.path().join("plugin.wasm");
        fs::write(&component, bytes)?;
        run_cases(&folder, &component)
    })
}

/// Runs the cases of an example, unless its toolchain is missing.
fn foreign_plugin(folder: &str, build: fn(&Path) -> Result<Guest>) -> Result<()> {
    let folder = rust::root().join(folder);
    match build(&folder)? {
        Guest::Built(component) => run_cases(&folder, &component),
        Guest::Skipped(why) => skip(&folder, &why),
    }
}

/// Runs a copy of an example with a mistake: it must count as a failure of the plugin, with the language's own error
/// message.
fn mistake(name: &str, build: fn(&Path) -> Result<Guest>, edit: [&str; 3], words: &str) -> Result<()> {
    let example = rust::root().join("examples").join(name);
    let scratch = tempfile::tempdir()?;
    let copy = scratch.path().join(name);
    copy_with(&example, &copy, edit)?;
    let component = match build(&copy)? {
        Guest::Built(component) => component,
        Guest::Skipped(why) => return skip(&example, &why),
    };
    let bench = Workbench::new(Some(&compiled()?), &[])?;
    let plugin = bench.examine(&component)?;
    let outcome = Case::load(&example.join("cases/labels-a-pod.yaml"))?.run(&bench, &plugin)?;
    let problem = outcome.problem.context("the outcome has no problem")?;
    let shown = with_reason(&problem);
    ensure!(
        (outcome.verdict, &*problem.reason) == (Word::Fail, "PluginTrapped"),
        "{}: {shown}",
        outcome.verdict
    );
    ensure!(problem.why.contains(words), "{words:?} is missing: {shown}");
    Ok(())
}

/// Copies the files of an example, with one replacement in one of them.
fn copy_with(example: &Path, copy: &Path, [file, from, to]: [&str; 3]) -> Result<()> {
    fs::create_dir(copy)?;
    for entry in fs::read_dir(example)? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, copy.join(path.file_name().unwrap_or_default()))?;
        }
    }
    let text = fs::read_to_string(example.join(file))?;
    ensure!(text.contains(from), "{file} has no {from:?} to replace");
    fs::write(copy.join(file), text.replace(from, to))?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
fn skip(folder: &Path, why: &str) -> Result<()> {
    // Where all toolchains are promised, a skipped test is a failure.
    if std::env::var_os("WEFT_ALL_TOOLCHAINS").is_some() {
        bail!("{} is not tested: {why}", folder.display());
    }
    eprintln!("SKIPPED {}: {why}", folder.display());
    Ok(())
}

#[test]
fn config_map_passes_its_cases() -> Result<()> {
    rust_plugin("plugins/config-map")
}

#[test]
fn ingress_passes_its_cases() -> Result<()> {
    rust_plugin("plugins/ingress")
}

#[test]
fn network_policy_passes_its_cases() -> Result<()> {
    rust_plugin("plugins/network-policy")
}

#[test]
fn pod_disruption_budget_passes_its_cases() -> Result<()> {
    rust_plugin("plugins/pod-disruption-budget")
}

#[test]
fn image_registry_passes_its_cases() -> Result<()> {
    rust_plugin("plugins/image-registry")
}

#[test]
fn cert_manager_certificate_passes_its_cases() -> Result<()> {
    rust_plugin("plugins/cert-manager-certificate")
}

#[test]
fn the_example_in_rust_passes_its_cases() -> Result<()> {
    rust_plugin("examples/rust-team-label")
}

#[test]
fn the_example_of_an_override_passes_its_cases() -> Result<()> {
    rust_plugin("examples/override-config-map")
}

#[test]
fn the_example_in_javascript_passes_its_cases() -> Result<()> {
    foreign_plugin("examples/js-team-label", toolchains::javascript)
}

#[test]
fn the_example_in_python_passes_its_cases() -> Result<()> {
    foreign_plugin("examples/python-team-label", toolchains::python)
}

#[test]
fn an_error_in_javascript_is_a_failure_with_its_message() -> Result<()> {
    let edit = ["plugin.js", "draft.metadata.labels", "draft.metadate.labels"];
    let words = "TypeError: cannot read property 'labels' of undefined at label";
    mistake("js-team-label", toolchains::javascript, edit, words)
}

#[test]
fn an_error_in_python_is_a_failure_with_its_message() -> Result<()> {
    let edit = ["plugin.py", r#"draft["metadata"]"#, r#"draft["metadate"]"#];
    mistake("python-team-label", toolchains::python, edit, "KeyError: 'metadate' at label, line ")
}
