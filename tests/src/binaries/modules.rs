//! Builds programs of others from their Go modules, each version once.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::{Build, cache, exclusively};

/// A program and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Helm 3.
    Helm3,
    /// Helm 4.
    Helm4,
    /// Makes folders of a node into volumes.
    LocalPathProvisioner,
    /// Serves the metrics API.
    MetricsServer,
}

impl Program {
    /// All of them, to build them before they are needed.
    pub const ALL: [Self; 4] = [Self::LocalPathProvisioner, Self::Helm3, Self::Helm4, Self::MetricsServer];

    /// Its package and version.
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Helm3 => ("helm.sh/helm/v3/cmd/helm", "v3.22.0"),
            Self::Helm4 => ("helm.sh/helm/v4/cmd/helm", "v4.3.1"),
            Self::LocalPathProvisioner => ("github.com/rancher/local-path-provisioner", "v0.0.30"),
            Self::MetricsServer => ("sigs.k8s.io/metrics-server/cmd/metrics-server", "v0.9.0"),
        }
    }
}

/// The program, from the cache or built now; a cold build takes one to four minutes.
pub async fn program(program: Program) -> Result<PathBuf> {
    let (package, version) = program.source();
    let name = package.rsplit('/').next().unwrap_or(package);
    let folder = cache("modules")?.join(format!("{}@{version}", package.replace('/', "_")));
    let binary = folder.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let _lock = exclusively(&folder.join("lock")).await?;
    if !binary.is_file() {
        install(&format!("{package}@{version}"), &folder.join("part")).await?;
        fs::rename(folder.join("part").join(name), &binary)?;
    }
    Ok(binary)
}

async fn install(package: &str, folder: &std::path::Path) -> Result<()> {
    let mut command = Command::new("go");
    command
        .args(["install", "-trimpath", "-ldflags", "-s -w", package])
        .env("CGO_ENABLED", "0")
        .env("GOBIN", folder)
        // Of no module: flags of the caller are for others.
        .env_remove("GOFLAGS")
        .current_dir(std::env::temp_dir())
        .stderr(Stdio::piped());
    let build = Build::start(&mut command).context("failed to run go, which builds the tools of a node")?;
    let output = build.finish().await?;
    ensure!(
        output.status.success(),
        "failed to build {package}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
