//! Builds programs that need nothing of a file system, for images without one: the syncer and the probe.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{READY_WEFT, exclusively};
use crate::cargo;
use crate::guests::rust::root;

/// The only one for which a static program can be linked with what is installed.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// With its copy of the C library inside; looking names up works too, as it needs no plugin of that library for DNS.
const FLAGS: &str = "-C target-feature=+crt-static";

/// The syncer as it is shipped, or the one that the environment names.
pub async fn weft() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os(READY_WEFT) {
        return Ok(PathBuf::from(binary));
    }
    build(&root(), "weft").await
}

/// The program of test pods.
pub async fn probe() -> Result<PathBuf> {
    build(&root().join("tests").join("probe"), "probe").await
}

/// In a target folder of its own: with other flags in the same one, everything would be compiled again each time.
async fn build(folder: &Path, program: &str) -> Result<PathBuf> {
    let target = root().join("target").join("static").join(program);
    std::fs::create_dir_all(&target)?;
    let _lock = exclusively(&target.join("lock")).await?;
    let mut command = cargo::command();
    command
        .current_dir(folder)
        .args(["build", "--quiet", "--release", "--target", TARGET, "--package", program, "--bin", program])
        .arg("--target-dir")
        .arg(&target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", FLAGS);
    let status = command.kill_on_drop(true).status().await.context("failed to run cargo")?;
    ensure!(status.success(), "failed to build a static {program}; see cargo's messages above");
    Ok(target.canonicalize()?.join(TARGET).join("release").join(program))
}
