//! Unpacks Debian's packages with all that they need, as the files of an image; nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::binaries::{cache, exclusively};
use crate::image::{Content, Entry};

/// The folder `name` of the cache with the files of `packages` and of all that they depend on, as if none were installed.
pub(super) async fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = cache("debian")?;
    let (files, part) = (folder.join(name), folder.join(format!("{name}.part")));
    fs::create_dir_all(&folder)?;
    let _lock = exclusively(&folder.join(format!("{name}.lock"))).await?;
    if !files.exists() {
        let archives = part.join("archives");
        fs::create_dir_all(archives.join("partial"))?;
        download(packages, &archives).await?;
        for package in fs::read_dir(&archives)? {
            let package = package?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                let mut unpack = Command::new("dpkg-deb");
                output(unpack.arg("--extract").arg(package).arg(part.join("files"))).await?;
            }
        }
        fs::rename(part.join("files"), &files)?;
        fs::remove_dir_all(part)?;
    }
    Ok(files)
}

async fn download(packages: &[&str], archives: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["install", "--quiet", "--yes", "--download-only", "--no-install-recommends"])
        .args(["-o", "Dir::State::status=/dev/null", "-o", "Debug::NoLocking=1", "-o"])
        .arg(format!("Dir::Cache::archives={}", archives.display()))
        .args(packages);
    output(&mut command).await.map(drop)
}

/// The files below `part` of a folder, at the same places.
pub(super) fn entries(folder: &Path, part: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder.join(part)).with_context(|| format!("the packages have no {part}"))? {
        let entry = entry?;
        let path = format!("{part}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            entries.extend(self::entries(folder, &path)?);
        } else if kind.is_symlink() {
            let to = fs::read_link(entry.path())?.to_string_lossy().into_owned();
            entries.push(Entry { path, content: Content::Link(to) });
        } else {
            entries.push(Entry { path, content: Content::Program(entry.path()) });
        }
    }
    Ok(entries)
}

/// Runs a command and returns its output.
pub(super) async fn output(command: &mut Command) -> Result<String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("failed to run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", errors.trim());
    Ok(String::from_utf8(output.stdout)?)
}
