//! `weft plugin build`: builds the component of a plugin with the tools of its language.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;
use tokio::process::Command;

use crate::author::encode::encode;
use crate::author::workbench::{Examined, Workbench};
use crate::cli::output::{good, note, print};
use crate::cli::project::{self, DIST};
use crate::cli::summary::ComponentSummary;

/// Arguments of `weft plugin build`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Build {
    /// The folder of the plugin.
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

/// A built component.
pub(super) struct Built {
    /// Its file.
    pub(super) file: PathBuf,
    /// The component itself.
    pub(super) plugin: Examined,
}

/// The tools that build a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tools {
    Cargo,
    Npm,
    Python,
}

/// The target of Rust plugins, which has no system interface.
const TARGET: &str = "wasm32-unknown-unknown";
/// Files that Python's tools put into their own folder.
const VENV: &str = ".venv/bin";
const COMPONENTIZE_PY: &str = "componentize-py";

pub(super) fn build(arguments: &Build) -> Result<ExitCode> {
    let bench = project::workbench()?;
    let built = make_now(&bench, &arguments.folder)?;
    print(&format!("{} {}\n", good("built"), ComponentSummary::new(&built.file, &built.plugin).to_text()));
    Ok(ExitCode::SUCCESS)
}

/// The component at `path`: the file itself, or that of the plugin in a folder, which is built if the source is newer.
pub(super) fn component(bench: &Workbench, path: &Path) -> Result<PathBuf> {
    if !path.exists() {
        bail!("no such file or folder: {}", path.display());
    }
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    match (project::component(path)?, check_project(path)) {
        (Some(file), Ok(())) if !project::is_stale(path, &file) => Ok(file),
        // Somebody keeps components there that are built elsewhere.
        (Some(file), Err(_)) => Ok(file),
        (None, Err(nothing)) => Err(nothing),
        (_, Ok(())) => Ok(make_now(bench, path)?.file),
    }
}

/// Passes if there is a plugin in `folder` that can be built.
pub(super) fn check_project(folder: &Path) -> Result<()> {
    tools(folder).map(drop)
}

fn make_now(bench: &Workbench, folder: &Path) -> Result<Built> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(make(bench, folder))
}

/// Builds the plugin of `folder` into its `dist`. Dropping the future ends the tools.
pub(super) async fn make(bench: &Workbench, folder: &Path) -> Result<Built> {
    let tools = tools(folder)?;
    // Some tools say nothing for half a minute.
    note(&format!("building the plugin in {}", folder.display()));
    let made = match tools {
        Tools::Cargo => cargo(folder).await?,
        Tools::Npm => npm(folder).await?,
        Tools::Python => python(folder).await?,
    };
    let bytes = std::fs::read(&made).with_context(|| format!("failed to read {}", made.display()))?;
    let shown = made.display();
    let bytes =
        encode(bytes).with_context(|| format!("failed to make a component from {shown}; is it a plugin?"))?;
    let plugin =
        bench.examine_bytes(&bytes).with_context(|| format!("{shown} was built, but cannot be loaded"))?;
    let file = folder.join(DIST).join(format!("{}.wasm", plugin.loaded.descriptor.name));
    project::write_whole(&file, &bytes)?;
    // A build that still writes another name would leave two components there.
    if made.parent() == file.parent() && made != file {
        std::fs::remove_file(&made).with_context(|| format!("failed to remove {}", made.display()))?;
    }
    Ok(Built { file, plugin })
}

/// The tools for the plugin in `folder`, by its files.
fn tools(folder: &Path) -> Result<Tools> {
    let has = |name: &str| folder.join(name).is_file();
    if has("Cargo.toml") {
        Ok(Tools::Cargo)
    } else if has("package.json") {
        Ok(Tools::Npm)
    } else if has("requirements.txt") && python_module(folder).is_some() {
        Ok(Tools::Python)
    } else {
        let wanted = "no Cargo.toml, no package.json, and no requirements.txt beside plugin.py or app.py";
        bail!("there is no plugin in {}: {wanted}; `weft plugin new` creates one", folder.display())
    }
}

fn python_module(folder: &Path) -> Option<&'static str> {
    ["plugin", "app"].into_iter().find(|name| folder.join(format!("{name}.py")).is_file())
}

async fn cargo(folder: &Path) -> Result<PathBuf> {
    check_target(folder).await?;
    let mut command = tool("cargo", folder);
    command.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    let output = command.stdout(Stdio::piped()).spawn().with_context(no_rust)?.wait_with_output().await?;
    if !output.status.success() {
        bail!("cargo failed to build {}; see its output above", folder.display());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let Some(file) = messages.lines().filter_map(artifact).next_back() else {
        bail!("{} builds no .wasm; it needs `crate-type = [\"cdylib\"]` under [lib]", folder.display());
    };
    Ok(file)
}

fn no_rust() -> String {
    format!("cargo is not installed; get Rust from https://rustup.rs, then run `rustup target add {TARGET}`")
}

/// Passes if Rust can build for [`TARGET`].
async fn check_target(folder: &Path) -> Result<()> {
    let mut command = tool("rustc", folder);
    command.args(["--print", "target-libdir", "--target", TARGET]).stdout(Stdio::piped());
    let output = command.spawn().with_context(no_rust)?.wait_with_output().await?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && !libraries.is_dir() {
        bail!("Rust cannot build for {TARGET} yet; run `rustup target add {TARGET}`");
    }
    Ok(())
}

/// The module in a message of cargo.
fn artifact(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_library = message.pointer("/target/kind")?.as_array()?.iter().any(|kind| kind == "cdylib");
    let files = message.get("filenames")?.as_array()?.iter().filter_map(Value::as_str).map(PathBuf::from);
    let mut modules = files.filter(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    modules.next().filter(|_| is_library)
}

async fn npm(folder: &Path) -> Result<PathBuf> {
    if !folder.join("node_modules").is_dir() && find("npm", None).is_some() {
        let install = if folder.join("package-lock.json").is_file() { "npm ci" } else { "npm install" };
        bail!("the packages are not installed; run `{install}` in {}", folder.display());
    }
    let mut command = tool("npm", folder);
    command.args(["run", "--silent", "build"]);
    run(folder, command, "npm is not installed; get Node.js 20 or newer from https://nodejs.org").await
}

async fn python(folder: &Path) -> Result<PathBuf> {
    let own = folder.join(VENV);
    if find(COMPONENTIZE_PY, Some(&own)).is_none() {
        bail!(
            "{COMPONENTIZE_PY} is not installed; run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt` in {}",
            folder.display()
        );
    }
    // A project with a build script is built by it.
    let has_script = folder.join("build.sh").is_file();
    let mut command = tool(if has_script { "sh" } else { COMPONENTIZE_PY }, folder);
    command.env("PATH", path_with(&own));
    if has_script {
        command.arg("build.sh");
    } else {
        let module = python_module(folder).unwrap_or("plugin");
        command.args(["--wit-path", "wit", "--world", "mapping-plugin", "--quiet", "componentize", module]);
        command.args(["--stub-wasi", "--output", "plugin.wasm"]);
    }
    run(folder, command, "sh is not installed").await
}

/// Runs a build, and finds the component by what it has written.
async fn run(folder: &Path, mut command: Command, without: &'static str) -> Result<PathBuf> {
    let start = SystemTime::now();
    let status = command.stdout(std::io::stderr()).status().await.context(without)?;
    if !status.success() {
        bail!("the build of {} failed; see its output above", folder.display());
    }
    let files =
        [folder.to_owned(), folder.join(DIST)].into_iter().flat_map(|place| project::components(&place));
    let written = |file: PathBuf| Some((file.metadata().and_then(|data| data.modified()).ok()?, file));
    let new = files.filter_map(written).filter(|(time, _)| *time + CLOCK >= start);
    let Some((_, file)) = new.max() else {
        bail!("the build of {} wrote no .wasm there or in {DIST}", folder.display());
    };
    Ok(file)
}

/// Times of files are coarser than those of the clock.
const CLOCK: std::time::Duration = std::time::Duration::from_secs(1);

/// A command in `folder` that ends with this process.
fn tool(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(name);
    // An error of the author is one line; a backtrace of the tool would hide it.
    command.current_dir(folder).env_remove("RUST_BACKTRACE").kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Finds a program.
fn find(name: &str, first: Option<&Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = first.map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// The search path with `first` in front.
fn path_with(first: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A command runs in another folder, so nothing may be relative.
    let first = std::path::absolute(first).unwrap_or_else(|_| first.to_owned());
    std::env::join_paths(std::iter::once(first).chain(std::env::split_paths(&path))).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_follow_from_the_files() {
        let folder = tempfile::tempdir().unwrap();
        assert!(tools(folder.path()).unwrap_err().to_string().contains("weft plugin new"));
        std::fs::write(folder.path().join("requirements.txt"), "").unwrap();
        std::fs::write(folder.path().join("app.py"), "").unwrap();
        assert_eq!(tools(folder.path()).unwrap(), Tools::Python);
        std::fs::write(folder.path().join("package.json"), "").unwrap();
        assert_eq!(tools(folder.path()).unwrap(), Tools::Npm);
    }

    #[test]
    fn the_module_is_that_of_cargos_message() {
        let message =
            r#"{"reason":"compiler-artifact","target":{"kind":["cdylib"]},"filenames":["/x/a.wasm"]}"#;
        assert_eq!(artifact(message), Some(PathBuf::from("/x/a.wasm")));
        assert_eq!(artifact(&message.replace("cdylib", "lib")), None);
        assert_eq!(artifact(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
