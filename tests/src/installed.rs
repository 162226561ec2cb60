//! A real node with the images of virtual clusters, and a person who installs them there with `weft`, Helm and kubectl.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::binaries::kubectl;
use crate::binaries::modules::{self, Program};
use crate::binaries::statics;
use crate::node::{self, Node, images};

/// What a person has: the host's kubeconfig, and programs on the search path. Each may use another one's clusters.
#[derive(Debug, Clone)]
pub struct Person {
    home: PathBuf,
    path: PathBuf,
}

/// The options of a node that has the images of virtual clusters.
pub async fn node_options() -> Result<node::Options> {
    let mut options = node::Options::build().await?;
    options.images.extend(images::products().await?);
    Ok(options)
}

/// What the syncer of the only virtual cluster on the node takes, in KiB. The brackets keep the shell from finding itself.
pub async fn memory_of_syncer(node: &Node) -> Result<usize> {
    let find = "for process in /proc/[0-9]*; do tr '\\0' ' ' < $process/cmdline | grep -q ' [s]yncer --config ' \
                && grep VmRSS $process/status && break; done";
    let line = node.run(&["sh", "-c", find]).await?;
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).with_context(|| format!("{line:?}"))
}

impl Person {
    /// A person of a name of their own, at a running node.
    pub async fn new(node: &Node, name: &str, helm: Program) -> Result<Self> {
        let home = node.dir().join("people").join(name);
        let person = Self { path: home.join("bin"), home };
        fs::create_dir_all(&person.path)?;
        fs::copy(node.kubeconfig(), person.kubeconfig())?;
        symlink(statics::weft().await?, person.path.join("weft"))?;
        symlink(modules::program(helm).await?, person.path.join("helm"))?;
        if let Some(program) = kubectl::wanted().await? {
            symlink(program, person.path.join("kubectl"))?;
        } else {
            // It is a part of the programs of the tests.
            let planes = node.options().programs.planes.display();
            person.replace("kubectl", &format!("exec {planes} kubectl \"$@\""))?;
        }
        Ok(person)
    }

    /// The kubeconfig that the commands read and write.
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.join("kubeconfig")
    }

    /// The folder with the programs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a program and returns its standard output; its standard error is part of a failure.
    pub async fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.attempt(program, arguments, input).await?;
        if !output.status.success() {
            bail!(
                "{program} {} ended with {}:\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `weft`.
    pub async fn weft(&self, arguments: &[&str]) -> Result<String> {
        self.run("weft", arguments, "").await
    }

    /// Runs `weft`, which has to fail; returns what it says.
    pub async fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.attempt("weft", arguments, "").await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "weft {} did not fail:\n{said}", arguments.join(" "));
        Ok(said)
    }

    /// Runs a program, whatever comes of it.
    pub async fn attempt(&self, program: &str, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = self.command(program, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("failed to start {program}"))?;
        let mut stdin = child.stdin.take().context("the program has no input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        Ok(child.wait_with_output().await?)
    }

    /// Puts another program, a shell script, in the place of one.
    pub fn replace(&self, program: &str, script: &str) -> Result<()> {
        let path = self.path.join(program);
        let _ = fs::remove_file(&path);
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// A program as this person would start it in a terminal.
    pub fn command(&self, program: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(self.path.join(program));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", &self.home)
            .env("KUBECONFIG", self.kubeconfig())
            .env("PATH", &self.path)
            .current_dir(&self.home);
        command
    }
}
