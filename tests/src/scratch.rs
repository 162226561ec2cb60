//! Folders for test planes that do not pile up, even when a process was killed.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Set to anything, it keeps the folder of a run after its end.
const KEEP: &str = "WEFT_KEEP";
const LOCK: &str = ".lock";
const KEPT: &str = ".keep";

tokio::task_local! {
    /// The folders that one test has made.
    static NOTED: RefCell<Vec<PathBuf>>;
}

/// Runs a test, and returns the folders that it has made as well: what they contain says why it has failed.
pub async fn noting_folders<T>(test: impl Future<Output = T>) -> (T, Vec<PathBuf>) {
    NOTED.scope(RefCell::default(), async { (test.await, NOTED.with(RefCell::take)) }).await
}

/// The folder of one world.
///
/// The next run removes it, not this one: the logs in it are wanted when something failed.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes a new one and removes those whose process is gone.
    pub fn new() -> Result<Self> {
        let runs = home()?.join("runs");
        fs::create_dir_all(&runs)?;
        sweep()?;
        let path = tempfile::Builder::new().prefix("run-").tempdir_in(&runs)?.keep();
        let lock = File::create(path.join(LOCK))?;
        lock.lock()?;
        if keep() {
            File::create(path.join(KEPT))?;
        }
        // Most tests are not asked for their folders.
        let _ = NOTED.try_with(|noted| noted.borrow_mut().push(path.clone()));
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The folder all test processes of this user share.
pub fn home() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("weft-{}", nix::unistd::getuid()));
    fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
    Ok(path)
}

/// Whether data is to stay too.
pub fn keep() -> bool {
    std::env::var_os(KEEP).is_some()
}

/// Removes the folders of runs that have ended. What cannot be removed now is left to the next time.
///
/// # Errors
/// There is no folder for them, and none can be made.
pub fn sweep() -> Result<()> {
    for entry in fs::read_dir(home()?.join("runs")).into_iter().flatten().flatten() {
        if is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// A folder without a lock file is one that another process is just creating.
fn is_abandoned(run: &Path) -> bool {
    let Ok(lock) = File::open(run.join(LOCK)) else { return false };
    !run.join(KEPT).exists() && lock.try_lock().is_ok()
}
