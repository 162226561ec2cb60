//! Runs a "machine": a process tree with network, mounts and process ids of its own, which ends as a whole.
//!
//! Its first process waits, adopts orphans and is tied to this process. When it ends, for whatever reason, the kernel
//! kills everything else in it, and its mounts and interfaces go with it: nothing has to be cleaned up by us, also after
//! `kill -9`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::network::Network;
use crate::eventually::{SOON, eventually};
use crate::process::{Launch, Process};

/// Its file system: the machine's, of which `/etc`, `/opt` and `/var` are changed in copies and `/run` is empty.
const FILE_SYSTEM: &str = include_str!("machine.sh");

/// The first process; a shell that waits for its child waits for orphans too.
const INIT: &str = "bash";

/// Where programs are looked for; Debian keeps `runc` in `sbin` and the CNI plugins in `lib`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long the kernel may take to end everything in it.
const END: Duration = Duration::from_secs(20);

/// A running machine; dropping it ends it.
#[derive(Debug)]
pub(super) struct Machine {
    planes: PathBuf,
    dir: PathBuf,
    /// Waits for the first process, and takes it along.
    keeper: Process,
    init: Pid,
}

impl Machine {
    /// Starts one without daemons; `dir` gets its data and logs.
    pub(super) async fn start(planes: &Path, dir: &Path, name: &str, network: &Network) -> Result<Self> {
        fs::create_dir_all(dir.join("logs"))?;
        let keeper = Process::start(&Launch {
            name: "the first process of the machine".to_owned(),
            planes: planes.to_owned(),
            args: ["run", "unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
                .into_iter()
                .chain(["--mount-proc", INIT, "-c", "while :; do sleep infinity & wait; done"])
                .map(Into::into)
                .collect(),
            env: Vec::new(),
            log: dir.join("logs/machine.log"),
        })?;
        let init = eventually("the machine has a first process", SOON, async || {
            keeper.check()?;
            first_process(keeper.pid())
        })
        .await?;
        let machine = Self { planes: planes.to_owned(), dir: dir.to_owned(), keeper, init };
        network.connect(init).await?;
        let variables = format!("NAME={name}\nDIR='{}'\n{}", dir.display(), network.variables());
        machine.shell(&(variables + FILE_SYSTEM)).await.context("failed to prepare the machine")?;
        Ok(machine)
    }

    /// The process by which others find its namespaces.
    pub(super) fn init(&self) -> Pid {
        self.init
    }

    /// Starts a daemon in it: a component of the `planes` binary, or any program after `run`.
    pub(super) fn daemon(&self, name: &str, arguments: &[String]) -> Result<Process> {
        let mut args: Vec<OsString> = vec!["run".into(), "nsenter".into()];
        args.extend(self.inside());
        // Its parent is outside, which looks like process 0 from inside.
        args.extend(["WEFT_PARENT_PID=0".into(), self.planes.clone().into()]);
        args.extend(arguments.iter().map(Into::into));
        Process::start(&Launch {
            name: name.to_owned(),
            planes: self.planes.clone(),
            args,
            env: Vec::new(),
            log: self.dir.join(format!("logs/{name}.log")),
        })
    }

    /// Runs a program in it with `input` on its standard input and returns its output.
    pub(super) async fn run<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Result<String> {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let shown = words.join(" ");
        let mut command = Command::new("nsenter");
        command.args(self.inside()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("failed to run nsenter")?;
        let mut stdin = child.stdin.take().context("nsenter has no input")?;
        // A program that does not read to the end says more by how it ends.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{shown}` failed: {}: {}", output.status, errors.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a shell script in it.
    pub(super) async fn shell(&self, script: &str) -> Result<String> {
        self.run(&["sh", "-eu"], script.as_bytes()).await
    }

    /// Kills everything in it but its first process, as a power failure does.
    pub(super) async fn kill_all(&self) -> Result<()> {
        // `kill -1` spares the first process and the shell that runs it.
        self.shell("kill -KILL -1").await?;
        eventually("the machine runs nothing", END, async || {
            let running = self.run(&["ps", "-e", "-o", "pid=,comm="], b"").await?;
            let names = running.lines().filter_map(|line| line.split_whitespace().nth(1));
            let others: Vec<_> = names.filter(|name| ![INIT, "sleep", "ps"].contains(name)).collect();
            ensure!(others.is_empty(), "{others:?}");
            Ok(())
        })
        .await
    }

    /// Ends it with everything in it.
    pub(super) fn end(&self) -> Result<()> {
        // The keeper returns when the kernel has ended every process that the first one leaves behind.
        let _ = kill(self.init, Signal::SIGKILL);
        let deadline = std::time::Instant::now() + END;
        while self.keeper.ended()?.is_none() {
            ensure!(std::time::Instant::now() < deadline, "the processes of the machine do not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The arguments of `nsenter`, and a clean environment: what a proxy or a certificate variable of the caller means
    /// does not hold in there.
    fn inside(&self) -> Vec<OsString> {
        let target = format!("--target={}", self.init);
        [target.as_str(), "--net", "--mount", "--pid", "--ipc", "--uts", "--", "env", "-i"]
            .into_iter()
            .map(Into::into)
            .chain([format!("PATH={PATH}").into(), "HOME=/root".into()])
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The only child of the keeper, once it is what it was started for: by then its namespaces are complete.
fn first_process(keeper: i32) -> Result<Pid> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
    let child = children.split_whitespace().next().context("it has no child yet")?;
    let name = fs::read_to_string(format!("/proc/{child}/comm"))?;
    ensure!(name.trim() == INIT, "it runs {}", name.trim());
    Ok(Pid::from_raw(child.parse()?))
}
