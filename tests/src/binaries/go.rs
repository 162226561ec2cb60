//! Builds the two Go programs of a plane, each once for every state of its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use super::{Build, cache, exclusively};
use crate::progress::Progress;

const GO_MISSING: &str = "Go 1.26.5 or newer is needed to build the control planes; install it, or set \
    WEFT_KUBERNETES=<binary of host/kubernetes> and WEFT_PLANES=<folder with the binary `planes`>";

/// Without it the node programs report `v0.0.0-master`, and clients check the version.
const LINK_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// One Go module of this repository, and how its binary is made.
pub(super) struct Program {
    /// The binary, and the part of the cache that has it.
    pub(super) name: &'static str,
    /// Shown while it is built.
    pub(super) building: &'static str,
    /// The folder of its module.
    pub(super) module: PathBuf,
    /// The command that writes the binary to a path.
    pub(super) build: fn(&Path) -> Command,
}

/// The binary: from the cache, or built now.
pub(super) async fn find(program: &Program, progress: fn(&'static str) -> Progress) -> Result<PathBuf> {
    let folder = cache(program.name)?.join(fingerprint(program).await?);
    let binary = folder.join(program.name);
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let _lock = exclusively(&folder.join("lock")).await?;
    if !binary.is_file() {
        let part = folder.join(format!("{}.part", program.name));
        build(program, &part, progress(program.building)).await?;
        fs::rename(part, &binary)?;
    }
    Ok(binary)
}

/// The recipe that images use too.
pub(super) fn kubernetes(output: &Path) -> Command {
    let mut command = Command::new("./build.sh");
    command.arg(output);
    command
}

pub(super) fn planes(output: &Path) -> Command {
    of_planes(output, ".")
}

/// In the module of the other program, which compiles nearly all of it.
pub(super) fn client(output: &Path) -> Command {
    of_planes(output, "./client")
}

fn of_planes(output: &Path, package: &str) -> Command {
    let mut command = Command::new("go");
    command
        .env("CGO_ENABLED", "0")
        .args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"])
        .args(["-ldflags", LINK_FLAGS, "-o"])
        .arg(output)
        .arg(package);
    command
}

/// At the versions that the control plane has.
pub(super) fn kine_with_cgo(output: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .env("CGO_ENABLED", "1")
        .args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o"])
        .arg(output)
        .arg("github.com/k3s-io/kine");
    command
}

/// Whether Go can compile C.
pub(super) async fn c_compiler_works() -> bool {
    let mut probe = Command::new("cc");
    probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().await.is_ok_and(|status| status.success())
}

/// Changes with everything the binary is built from.
async fn fingerprint(program: &Program) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(go_version(&program.module).await?);
    hash.update(LINK_FLAGS);
    for path in sources(&program.module)? {
        let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    Ok(BASE64_URL_SAFE_NO_PAD.encode(hash.finalize()))
}

async fn go_version(module: &Path) -> Result<Vec<u8>> {
    let output = Command::new("go").arg("version").current_dir(module).output().await.context(GO_MISSING)?;
    ensure!(output.status.success(), "{GO_MISSING}\n{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            paths.extend(sources(&path)?);
        } else if matches!(extension, Some("go" | "mod" | "sum" | "sh")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The binary of a module: built now.
///
/// With an empty Go cache this compiles some 3,000 packages.
pub(super) async fn build(program: &Program, output: &Path, mut progress: Progress) -> Result<()> {
    let mut command = (program.build)(output);
    command.current_dir(&program.module).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut build = Build::start(&mut command).context(GO_MISSING)?;
    let errors = build.0.stderr.take().context("go has no output")?;
    let messages = follow(errors, &mut progress).await?;
    if !build.0.wait().await?.success() {
        bail!("failed to build {}:\n{messages}", program.module.display());
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
