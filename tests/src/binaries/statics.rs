//! Builds programs that need nothing of a file system, for images without one: the syncer and the probe.
//!
//! They are equal wherever they are built: the compilers write the paths of sources into messages, so these are
//! replaced by names that are the same everywhere.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{READY_WEFT, exclusively};
use crate::cargo;
use crate::guests::rust::root;

/// The only one for which a static program can be linked with what is installed.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

const FLAGS: [&str; 2] = [
    // With its copy of the C library inside; looking names up works too, as it needs no plugin of that library for DNS.
    "-Ctarget-feature=+crt-static",
    // Where it is loaded is written into a megabyte of addresses at the start: their list takes 10 KB in this form, and
    // 1.9 MB of memory otherwise.
    "-Clink-arg=-Wl,-z,pack-relative-relocs",
];

/// Between the flags in a variable, so that a path with spaces is one of them.
const SEPARATOR: &str = "\x1f";

/// The folders of a build.
#[derive(Debug)]
pub struct Place {
    /// The sources.
    pub source: PathBuf,
    /// Where cargo keeps the sources of dependencies.
    pub cargo_home: PathBuf,
    /// What is compiled, in a folder of its own: with other flags in the same one, everything would be compiled again
    /// each time.
    pub target: PathBuf,
}

impl Place {
    fn here(program: &str) -> Result<Self> {
        let source = root().canonicalize()?;
        let target = source.join("target").join("static").join(program);
        Ok(Self { source, cargo_home: cargo_home()?, target })
    }

    /// Each folder and its name everywhere; of several that fit, compilers take the last.
    fn names(&self) -> [(&Path, &'static str); 3] {
        [(&self.cargo_home, "/cargo"), (&self.source, "/source"), (&self.target, "/target")]
    }

    fn rust_flags(&self) -> String {
        let names = self.names().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()));
        FLAGS.map(str::to_owned).into_iter().chain(names).collect::<Vec<_>>().join(SEPARATOR)
    }

    fn c_flags(&self) -> String {
        self.names().map(|(path, name)| format!("'-ffile-prefix-map={}={name}'", path.display())).join(" ")
    }
}

/// The folder that cargo keeps what it has downloaded in.
///
/// # Errors
/// The environment names neither it nor a home folder.
pub fn cargo_home() -> Result<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

/// The syncer as it is shipped, or the one that the environment names.
pub async fn weft() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os(READY_WEFT) {
        return Ok(PathBuf::from(binary));
    }
    let place = Place::here("weft")?;
    build(&place, &place.source, "weft").await
}

/// The program of test pods.
pub async fn probe() -> Result<PathBuf> {
    let place = Place::here("probe")?;
    build(&place, &place.source.join("tests").join("probe"), "probe").await
}

/// The binary of a program whose package or workspace is in `folder`.
///
/// # Errors
/// It does not compile, or cargo cannot be run.
pub async fn build(place: &Place, folder: &Path, program: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(&place.target)?;
    let _lock = exclusively(&place.target.join("lock")).await?;
    let mut command = cargo::command();
    command
        .current_dir(folder)
        .args(["build", "--quiet", "--locked", "--release", "--target", TARGET])
        .args(["--package", program, "--bin", program])
        .arg("--target-dir")
        .arg(&place.target)
        .env("CARGO_HOME", &place.cargo_home)
        .env("CARGO_ENCODED_RUSTFLAGS", place.rust_flags())
        .env("CFLAGS", place.c_flags())
        .env("CC_SHELL_ESCAPED_FLAGS", "1")
        // The C code of the allocator names the time of its build.
        .env("SOURCE_DATE_EPOCH", "0");
    let status = command.kill_on_drop(true).status().await.context("failed to run cargo")?;
    ensure!(status.success(), "failed to build a static {program}; see cargo's messages above");
    Ok(place.target.join(TARGET).join("release").join(program))
}
