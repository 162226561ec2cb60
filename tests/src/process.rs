//! Child processes that never stay behind, whatever ends this one.
//!
//! Every child starts through the `planes` binary, which asks the kernel to kill it the moment the
//! thread that started it is gone ("parent death signal"); that works after `kill -9` too, and for
//! stopped processes. So that a thread's end means this process's end, one thread starts them all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// The variable with the process that the `planes` binary must not outlive.
const PARENT: &str = "WEFT_PARENT_PID";

/// Bytes of a log that a failure shows.
const TAIL_LINES: usize = 15;
const TAIL_BYTES: usize = 16 * 1024;

/// What to start, and where its output goes.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The name failures use.
    pub name: String,
    /// The `planes` binary.
    pub planes: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Additions to the environment.
    pub env: Vec<(String, String)>,
    /// The file that gets both outputs.
    pub log: PathBuf,
}

/// A running child; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: Pid,
    child: Mutex<Child>,
}

impl Process {
    /// Starts it.
    pub fn start(launch: &Launch) -> Result<Self> {
        let child =
            command(launch).and_then(spawn).with_context(|| format!("failed to start {}", launch.name))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        Ok(Self { name: launch.name.clone(), log: launch.log.clone(), pid, child: Mutex::new(child) })
    }

    /// Its process id, for accounting.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal::kill(self.pid, signal)
            .with_context(|| format!("failed to send {signal} to {} (pid {})", self.name, self.pid))
    }

    /// Freezes it, and waits until every thread has stopped, which takes time on a busy machine.
    pub fn freeze(&self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        self.signal(Signal::SIGSTOP)?;
        let started = Instant::now();
        while !self.is_frozen()? {
            ensure!(started.elapsed() < PATIENCE, "{} (pid {}) does not stop", self.name, self.pid);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn is_frozen(&self) -> Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            // After the name in parentheses comes the state, `T` for stopped.
            // A thread that has ended meanwhile runs no more.
            let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else { continue };
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if state != Some('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fails with the end of its log when it no longer runs.
    pub fn check(&self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {}\n{}", self.name, describe(status), tail(&self.log)),
        }
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(child.try_wait()?)
    }

    /// Terminates it, kills it after `grace`, and returns how it ended.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + grace;
        if self.ended()?.is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill()
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&self) -> Result<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.kill()?;
        Ok(child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The end of a log, for a failure.
pub fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let end = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
    let text = String::from_utf8_lossy(end);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    format!("the end of {}:\n    {}", log.display(), shown.join("\n    "))
}

fn command(launch: &Launch) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(&launch.log)?;
    let mut command = Command::new(&launch.planes);
    command
        .args(&launch.args)
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .env(PARENT, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal is for us; we end the children in our own order.
        .process_group(0);
    Ok(command)
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts the command on the one thread that lives as long as this process.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let gone = || io::Error::other("the thread that starts children is gone");
    let (sender, answer) = mpsc::channel();
    SPAWNER.send((command, sender)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}
