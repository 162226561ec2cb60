//! Port-forwarders in the background: one process a virtual cluster, which lives until it is disconnected.
//!
//! Each holds a lock on its record for as long as it runs, so a record without a lock is what a process left behind,
//! and a process id that a record names is never somebody else's.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cluster::host::Host;
use crate::cluster::{Place, context};

/// How long a forwarder may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// One forwarder, as its record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pid: i32,
    /// The local port.
    pub port: u16,
    /// The virtual cluster's name.
    cluster: String,
    /// Its host namespace.
    namespace: String,
    /// The context of its host.
    host: Option<String>,
}

impl Record {
    /// The address of the virtual API server.
    pub fn server(&self) -> String {
        server(self.port)
    }
}

/// The address of a virtual API server behind a local port.
pub fn server(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

/// The forwarder of one virtual cluster on one host, running or not.
#[derive(Debug, Clone)]
pub struct Forwarder {
    place: Place,
    host: Option<String>,
    record: PathBuf,
    log: PathBuf,
}

impl Forwarder {
    /// The forwarder of the virtual cluster at `place` on `host`.
    pub fn of(host: &Host, place: &Place) -> Result<Self> {
        Ok(Self::in_folder(&folder()?, place, host.context.clone(), host.files.paths()))
    }

    /// Those that run, wherever their virtual clusters are.
    pub fn all() -> Result<Vec<Self>> {
        let folder = folder()?;
        let entries =
            fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))?;
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let records = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let found = records.filter_map(|record| {
            let Record { cluster, namespace, host, .. } = read(&record)?;
            let log = record.with_extension("log");
            Some(Self { place: Place { namespace, name: cluster }, host, record, log })
        });
        Ok(found.filter(|forwarder| forwarder.running().is_some()).collect())
    }

    /// The context and the files of the host keep clusters of equal names on several hosts apart.
    fn in_folder(folder: &Path, place: &Place, host: Option<String>, files: &[PathBuf]) -> Self {
        let files: Vec<_> = files.iter().map(|path| std::path::absolute(path).ok()).collect();
        let hash = Sha256::digest(format!("{host:?} {files:?}"));
        let hash = hash.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let stem = format!("{}-{hash:08x}", context::name(place));
        Self {
            place: place.clone(),
            host,
            record: folder.join(format!("{stem}.json")),
            log: folder.join(format!("{stem}.log")),
        }
    }

    /// The virtual cluster that it forwards to.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The context of the virtual cluster's host.
    pub fn host_context(&self) -> Option<&String> {
        self.host.as_ref()
    }

    /// The last warning that it logged.
    pub fn last_words(&self) -> Option<String> {
        let log = fs::read_to_string(&self.log).ok()?;
        let warning = log.lines().rfind(|line| line.contains(" WARN "))?;
        Some(warning.split_once(" WARN ").map_or(warning, |(_, words)| words).to_owned())
    }

    /// Its record, if it runs.
    pub fn running(&self) -> Option<Record> {
        let file = File::open(&self.record).ok()?;
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| self.recorded()).flatten()
    }

    /// The record of one that runs or ran.
    pub fn recorded(&self) -> Option<Record> {
        read(&self.record)
    }

    /// Starts the program with `arguments`, which must call [`Forwarder::hold`], and waits until it listens.
    pub fn start(&self, arguments: &[String]) -> Result<Record> {
        let program = std::env::current_exe().context("failed to find this program's file")?;
        let log = create(&self.log)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("failed to start the port-forwarder")?;
        let output = child.stdout.take().context("the port-forwarder has no output")?;
        let mut line = String::new();
        // One line when it listens, or the end of the pipe when it failed.
        BufReader::new(output).read_line(&mut line)?;
        let record = (!line.is_empty()).then(|| self.recorded()).flatten();
        record.with_context(|| {
            let _ = child.wait();
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            format!("the port-forwarder ended: {}", log.lines().last().unwrap_or("it logged nothing"))
        })
    }

    /// In the forwarder: takes the lock and writes the record, which holds until the result is dropped.
    pub fn hold(&self, port: u16) -> Result<Held> {
        let mut file = create_or_open(&self.record)?;
        if file.try_lock().is_err() {
            bail!("another port-forwarder of {} is running", self.place);
        }
        let pid = i32::try_from(std::process::id()).context("the process id is out of range")?;
        let Place { name, namespace } = self.place.clone();
        let record = Record { pid, port, cluster: name, namespace, host: self.host.clone() };
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        Ok(Held { _lock: file, forwarder: self.clone() })
    }

    /// Ends it, if it runs, and removes its files.
    pub fn stop(&self) -> Result<bool> {
        let Ok(file) = File::open(&self.record) else { return Ok(false) };
        let running = self.running();
        if let Some(record) = &running {
            end(&file, record).with_context(|| format!("failed to end the port-forwarder {}", record.pid))?;
        }
        self.remove_files();
        Ok(running.is_some())
    }

    fn remove_files(&self) {
        let _ = fs::remove_file(&self.record);
        let _ = fs::remove_file(&self.log);
    }
}

/// Held by the forwarder for as long as it runs.
#[derive(Debug)]
pub struct Held {
    _lock: File,
    forwarder: Forwarder,
}

impl Held {
    /// Nothing is left to forward to: removes the files.
    pub fn retire(self) {
        self.forwarder.remove_files();
    }
}

fn read(record: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(record).ok()?).ok()
}

fn end(lock: &File, record: &Record) -> Result<()> {
    let pid = Pid::from_raw(record.pid);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // It may end by itself in this moment.
        let _ = kill(pid, signal);
        let started = Instant::now();
        while started.elapsed() < GRACE {
            if lock.try_lock().is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    bail!("it does not end")
}

/// Where records and logs are.
fn folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = variable("XDG_RUNTIME_DIR")
        .or_else(|| variable("XDG_STATE_HOME"))
        .or_else(|| Some(std::env::home_dir()?.join(".local/state")))
        .context("none of XDG_RUNTIME_DIR, XDG_STATE_HOME and HOME is set")?
        .join("weft");
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    created.with_context(|| format!("failed to create {}", folder.display()))?;
    Ok(folder)
}

fn create(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.with_context(|| format!("failed to create {}", path.display()))
}

fn create_or_open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file.with_context(|| format!("failed to create {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { namespace: "team-a".to_owned(), name: "one".to_owned() }
    }

    #[test]
    fn a_record_counts_while_its_process_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let forwarder = Forwarder::in_folder(folder.path(), &place(), None, &[]);
        assert_eq!(forwarder.running(), None);
        let held = forwarder.hold(4711).unwrap();
        assert_eq!(forwarder.running().map(|record| record.port), Some(4711));
        assert!(forwarder.hold(1).is_err());
        drop(held);
        assert_eq!(forwarder.running(), None);
        assert_eq!(forwarder.recorded().map(|record| record.port), Some(4711));
        assert!(!forwarder.stop().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn clusters_of_one_name_on_two_hosts_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let of = |host: &str, file: &str| {
            Forwarder::in_folder(folder.path(), &place(), Some(host.to_owned()), &[file.into()])
        };
        let _held = of("a", "config").hold(1).unwrap();
        assert!(of("a", "config").running().is_some());
        assert!(of("b", "config").running().is_none() && of("a", "other").running().is_none());
    }
}
