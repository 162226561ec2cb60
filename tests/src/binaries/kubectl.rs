//! Builds kubectl of a version that somebody names, from its Go module, each version once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{Build, cache, exclusively};

/// Variable with the version of kubectl that people have, as `v1.35.10`.
const WANTED: &str = "WEFT_KUBECTL";
const NAME: &str = "kubectl";
const MAIN: &str = include_str!("../../kubectl/main.go");

/// The wanted one, from the cache or built now, which takes a few minutes; none where people have that of the planes.
pub async fn wanted() -> Result<Option<PathBuf>> {
    let Some(version) = std::env::var_os(WANTED) else { return Ok(None) };
    let version = version.to_string_lossy();
    let numbers = version.strip_prefix("v1.").filter(|rest| rest.split('.').all(is_number));
    let numbers = numbers.with_context(|| format!("{WANTED}={version} is no version, such as v1.35.10"))?;
    let folder = cache(NAME)?.join(&*version);
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let _lock = exclusively(&folder.join("lock")).await?;
    let binary = folder.join(NAME);
    if !binary.is_file() {
        build(numbers, &folder).await.with_context(|| format!("failed to build {NAME} {version}"))?;
        fs::rename(folder.join("part"), &binary)?;
    }
    Ok(Some(binary))
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// Modules that Kubernetes publishes have the numbers of its versions behind `v0.`.
async fn build(numbers: &str, folder: &Path) -> Result<()> {
    let module = format!(
        "module weft.dev/tests/kubectl\n\ngo 1.26.5\n\n\
         require (\n\tk8s.io/component-base v0.{numbers}\n\tk8s.io/kubectl v0.{numbers}\n)\n"
    );
    fs::write(folder.join("go.mod"), module)?;
    fs::write(folder.join("main.go"), MAIN)?;
    go(folder, &["mod", "tidy"]).await?;
    // Without it kubectl says that it is of no version.
    let stamp = format!("-s -w -X k8s.io/component-base/version.gitVersion=v1.{numbers}");
    go(folder, &["build", "-trimpath", "-buildvcs=false", "-ldflags", &stamp, "-o", "part", "."]).await
}

async fn go(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("go");
    command.args(arguments).current_dir(folder).env("CGO_ENABLED", "0").stderr(Stdio::piped());
    // Flags of the caller are for others.
    let build = Build::start(command.env_remove("GOFLAGS")).context("failed to run go")?;
    let output = build.finish().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "go {} ended with {}:\n{errors}", arguments.join(" "), output.status);
    Ok(())
}
