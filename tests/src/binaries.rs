//! Builds what the tests run: the control plane, what they need beside it, and the syncer itself.

mod go;
pub mod kubectl;
pub mod modules;
pub mod statics;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::cargo;
use crate::progress::Progress;

/// Variable with a prebuilt binary of `host/kubernetes`.
const READY_KUBERNETES: &str = "WEFT_KUBERNETES";
/// Variable with a folder that has a prebuilt `planes` binary.
const READY_PLANES: &str = "WEFT_PLANES";
/// Variable with a prebuilt syncer.
const READY_WEFT: &str = "WEFT_BINARY";

/// What a plane runs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The control plane, see [`kubernetes`].
    pub kubernetes: PathBuf,
    /// What tests need beside it, see [`planes`].
    pub planes: PathBuf,
}

impl Programs {
    /// Both: ready-made, from the cache, or built now.
    pub async fn build() -> Result<Self> {
        // One after the other: the first compiles most of what the second needs, and a linker takes 2.5 GiB.
        Ok(Self { kubernetes: kubernetes().await?, planes: planes().await? })
    }

    /// The same beside other work, without output.
    pub async fn build_in_background() -> Result<Self> {
        let kubernetes = find_kubernetes(Progress::quiet).await?;
        Ok(Self { kubernetes, planes: find_planes(Progress::quiet).await? })
    }
}

/// The Go module of the control plane.
pub fn kubernetes_module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/kubernetes")
}

/// The Go module of the `planes` binary.
pub fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("planes")
}

/// The control plane in one binary: ready-made, from the cache, or built now.
pub async fn kubernetes() -> Result<PathBuf> {
    find_kubernetes(Progress::start).await
}

/// Builds the control plane as [`kubernetes`] does, from a copy of its module.
///
/// # Errors
/// It does not compile, or there is no Go.
pub async fn kubernetes_of(module: &Path, output: &Path) -> Result<()> {
    go::build(&kubernetes_program(module.to_owned()), output, Progress::quiet("building the control plane"))
        .await
}

/// The `planes` binary, which has what tests need beside it: ready-made, from the cache, or built now.
pub async fn planes() -> Result<PathBuf> {
    find_planes(Progress::start).await
}

async fn find_kubernetes(progress: fn(&'static str) -> Progress) -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os(READY_KUBERNETES) {
        return ready(READY_KUBERNETES, binary.into());
    }
    go::find(&kubernetes_program(kubernetes_module()), progress).await
}

fn kubernetes_program(module: PathBuf) -> go::Program {
    go::Program {
        name: "kubernetes",
        building: "building the control plane (several minutes the first time)",
        module,
        build: go::kubernetes,
    }
}

async fn find_planes(progress: fn(&'static str) -> Progress) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(READY_PLANES) {
        return ready(READY_PLANES, PathBuf::from(folder).join("planes"));
    }
    let program = go::Program {
        name: "planes",
        building: "building what tests need beside the control plane",
        module: module(),
        build: go::planes,
    };
    go::find(&program, progress).await
}

/// The program with which pods use their API server as programs with client-go do, static: from the cache, or built now.
pub async fn client() -> Result<PathBuf> {
    let program = go::Program {
        name: "client",
        building: "building a pod's client of its API server",
        module: module(),
        build: go::client,
    };
    go::find(&program, Progress::start).await
}

/// kine with the C library of `SQLite`, to compare with; fails where there is no C compiler.
pub async fn kine_with_cgo() -> Result<PathBuf> {
    ensure!(go::c_compiler_works().await, "there is no C compiler (cc)");
    let program = go::Program {
        name: "kine-cgo",
        building: "building kine with the C library of SQLite",
        module: kubernetes_module(),
        build: go::kine_with_cgo,
    };
    go::find(&program, Progress::start).await
}

fn ready(variable: &str, binary: PathBuf) -> Result<PathBuf> {
    ensure!(binary.is_file(), "{variable} is set, but {} is not a file", binary.display());
    Ok(binary)
}

/// The syncer, built in this workspace's target folder.
pub async fn weft() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os(READY_WEFT) {
        return Ok(PathBuf::from(binary));
    }
    let mut command = cargo::command();
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // With this package beside it, so that both are built from the same dependencies.
        .args(["build", "--package", "weft", "--bin", "weft", "--package", "weft-tests"])
        .args(["--message-format", "json-render-diagnostics"]);
    let mut build = Build::start(command.stdout(Stdio::piped())).context("failed to run cargo")?;
    let mut output = String::new();
    build.0.stdout.take().context("cargo has no output")?.read_to_string(&mut output).await?;
    ensure!(build.0.wait().await?.success(), "failed to build the syncer; see cargo's messages above");
    output.lines().rev().find_map(executable).context("cargo built no executable for the package weft")
}

/// A second process waits for the first and finds the binary.
pub(crate) async fn exclusively(path: &Path) -> Result<File> {
    let lock = File::create(path)?;
    while lock.try_lock().is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(lock)
}

/// The executable in one line of cargo's messages.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    Some(message.get("executable")?.as_str()?.into())
}

/// The folder `part` of the cache of test artifacts, outside the tree.
pub fn cache(part: &str) -> Result<PathBuf> {
    let caches = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(caches.join("weft").join(part))
}

/// A build whose process group is ended when this is dropped.
pub(crate) struct Build(pub(crate) Child);

impl Build {
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Self> {
        command.process_group(0).kill_on_drop(true).spawn().map(Self)
    }

    /// Waits for its end and what it has written to its pipes.
    pub(crate) async fn finish(mut self) -> std::io::Result<Output> {
        let mut stderr = Vec::new();
        if let Some(mut pipe) = self.0.stderr.take() {
            pipe.read_to_end(&mut stderr).await?;
        }
        Ok(Output { status: self.0.wait().await?, stdout: Vec::new(), stderr })
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        // Without an id it was waited for, and the group may be somebody else's by now.
        if let Some(group) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        }
    }
}
