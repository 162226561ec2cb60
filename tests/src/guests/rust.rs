//! Builds plugins that are written in Rust: those of `plugins/`, the examples, and edited copies of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

use crate::binaries::{cache, exclusively};
use crate::cargo;

const TARGET: &str = "wasm32-unknown-unknown";

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The component of the plugin `name` of `plugins/`.
pub async fn plugin(name: &str) -> Result<Vec<u8>> {
    component(&root().join("plugins").join(name)).await
}

/// The component of the example `name`.
pub async fn example(name: &str) -> Result<Vec<u8>> {
    component(&root().join("examples").join(name)).await
}

/// The component of the crate in `folder`, built unless it is up to date.
pub async fn component(folder: &Path) -> Result<Vec<u8>> {
    weft::author::encode::encode(module(folder, None).await?)
}

/// The core module of the crate in `folder` with a feature of it.
pub(super) async fn module(folder: &Path, feature: Option<&str>) -> Result<Vec<u8>> {
    let guests = cache("guests")?;
    fs::create_dir_all(&guests)?;
    // The target folder is shared: one build at a time.
    let _lock = exclusively(&guests.join("lock")).await?;
    let target = guests.join("target");
    ensure_target(folder).await?;
    let module = format!("{}.wasm", package(folder)?.replace('-', "_"));
    let module = target.join(TARGET).join("release").join(module);
    // Cargo writes it again, so it cannot be that of another crate with the same name.
    let _ = fs::remove_file(&module);
    let mut command = cargo::command();
    command
        .current_dir(folder)
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .args(feature.map(|feature| format!("--features={feature}")))
        .arg("--target-dir")
        .arg(&target)
        // Flags of the tests' own build are not meant for another target.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = command.kill_on_drop(true).output().await.context("failed to run cargo")?;
    if !output.status.success() {
        bail!("failed to build {}:\n{}", folder.display(), String::from_utf8_lossy(&output.stderr));
    }
    fs::read(&module).with_context(|| format!("cargo did not build {}", module.display()))
}

/// Installs the standard library for [`TARGET`], unless the toolchain file has installed it.
async fn ensure_target(folder: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    let output = rustc.current_dir(folder).args(["--print", "target-libdir", "--target", TARGET]).output();
    let libraries = output.await.context("failed to run rustc")?.stdout;
    if Path::new(String::from_utf8_lossy(&libraries).trim()).is_dir() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    let added = rustup.current_dir(folder).args(["target", "add", TARGET]).output().await;
    let added =
        added.with_context(|| format!("Rust has no target {TARGET}, and there is no rustup to add it"))?;
    let errors = String::from_utf8_lossy(&added.stderr);
    ensure!(added.status.success(), "failed to add the target {TARGET}:\n{errors}");
    Ok(())
}

/// Copies the example `name` to `folder` and replaces `from` in its source by `to`, as an author would edit it.
pub fn edited(name: &str, folder: &Path, from: &str, to: &str) -> Result<()> {
    let example = root().join("examples").join(name);
    fs::create_dir_all(folder.join("src"))?;
    let manifest = fs::read_to_string(example.join("Cargo.toml"))?;
    let sdk = root().join("plugins/sdk").canonicalize()?;
    // With a name of its own, so that its module is not confused with the example's.
    let own = folder.file_name().and_then(|name| name.to_str()).context("the copy's folder has a name")?;
    let manifest = manifest
        .replace("../../plugins/sdk", &sdk.display().to_string())
        .replace(&format!("name = \"{}\"", package(&example)?), &format!("name = \"{own}\""));
    fs::write(folder.join("Cargo.toml"), manifest)?;
    let lock = fs::read_to_string(example.join("Cargo.lock"))?;
    let lock = lock.replace(&format!("name = \"{}\"", package(&example)?), &format!("name = \"{own}\""));
    fs::write(folder.join("Cargo.lock"), lock)?;
    let source = fs::read_to_string(example.join("src/lib.rs"))?;
    ensure!(source.contains(from), "{name} has no {from:?} to replace");
    fs::write(folder.join("src/lib.rs"), source.replace(from, to))?;
    Ok(())
}

fn package(folder: &Path) -> Result<String> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    Ok(name.with_context(|| format!("{} names no package", folder.display()))?.to_owned())
}
