//! Builds what the tests run: the control-plane binary, and the syncer itself.

pub mod modules;
pub mod statics;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::cargo;
use crate::progress::Progress;

/// Variable with a folder that has a prebuilt `planes` binary.
const READY_PLANES: &str = "WEFT_PLANES";
/// Variable with a prebuilt syncer.
const READY_WEFT: &str = "WEFT_BINARY";

const GO_MISSING: &str = "Go 1.26 or newer is needed to build the control planes; \
    install it or set WEFT_PLANES=<folder with the binary `planes`>";

const BUILDING: &str = "building the control planes (several minutes the first time)";

/// Without it the servers report `v0.0.0-master`, and clients check the version.
const LINK_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// The Go module of the `planes` binary.
pub fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("planes")
}

/// The `planes` binary: ready-made, from the cache, or built now.
pub async fn planes() -> Result<PathBuf> {
    find_planes(Progress::start).await
}

/// The same beside other work, without output.
pub async fn planes_in_background() -> Result<PathBuf> {
    find_planes(Progress::quiet).await
}

async fn find_planes(progress: fn(&'static str) -> Progress) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(READY_PLANES) {
        let binary = PathBuf::from(folder).join("planes");
        ensure!(binary.is_file(), "{READY_PLANES} is set, but {} is not a file", binary.display());
        return Ok(binary);
    }
    let folder = cache("planes")?.join(fingerprint().await?);
    let binary = folder.join("planes");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let _lock = exclusively(&folder.join("lock")).await?;
    if !binary.is_file() {
        build_planes(&folder.join("planes.part"), progress(BUILDING)).await?;
        fs::rename(folder.join("planes.part"), &binary)?;
    }
    Ok(binary)
}

/// The syncer, built in this workspace's target folder.
pub async fn weft(release: bool) -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os(READY_WEFT) {
        return Ok(PathBuf::from(binary));
    }
    let mut command = cargo::command();
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--package", "weft", "--bin", "weft"])
        .args(["--message-format", "json-render-diagnostics"])
        // With this package beside it, so that both are built from the same dependencies; but what is
        // measured is built as it is shipped.
        .args(if release { ["--release", "--quiet"] } else { ["--package", "weft-tests"] });
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

/// Changes with everything the binary is built from.
async fn fingerprint() -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(go_version().await?);
    hash.update(LINK_FLAGS);
    for path in sources()? {
        let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    Ok(BASE64_URL_SAFE_NO_PAD.encode(hash.finalize()))
}

async fn go_version() -> Result<Vec<u8>> {
    let output =
        Command::new("go").arg("version").current_dir(module()).output().await.context(GO_MISSING)?;
    ensure!(output.status.success(), "{GO_MISSING}\n{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(module())? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("go" | "mod" | "sum")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// With an empty Go cache this compiles some 2,700 packages.
async fn build_planes(output: &Path, mut progress: Progress) -> Result<()> {
    let mut command = Command::new("go");
    command
        .current_dir(module())
        .env("CGO_ENABLED", "0")
        .args(["build", "-v", "-trimpath", "-ldflags", LINK_FLAGS, "-o"])
        .arg(output)
        .arg(".");
    let mut build = Build::start(command.stderr(Stdio::piped())).context(GO_MISSING)?;
    let errors = build.0.stderr.take().context("go has no output")?;
    let messages = follow(errors, &mut progress).await?;
    if !build.0.wait().await?.success() {
        bail!("failed to build the control planes:\n{messages}");
    }
    progress.done("");
    Ok(())
}

/// Counts the package names that `go build -v` prints and returns the other lines.
async fn follow(output: impl AsyncRead + Unpin, progress: &mut Progress) -> Result<String> {
    let mut lines = BufReader::new(output).lines();
    let mut packages = 0;
    let mut messages = String::new();
    while let Some(line) = lines.next_line().await? {
        if line.contains(' ') {
            messages.push_str(&line);
            messages.push('\n');
        } else {
            packages += 1;
            progress.update(&format!("({packages} packages compiled)"));
        }
    }
    Ok(messages)
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
