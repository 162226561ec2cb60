//! Reports when something in a folder changes.
//!
//! The folder is watched, not its files: compilers and mounted ConfigMaps put new files in the place of old
//! ones. Where the system reports nothing, as on network mounts, a look every few seconds
//! does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::debug;

/// A change is reported once nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(50);
/// And at the latest this long after the first.
const LATEST: Duration = Duration::from_millis(500);
/// A look without a report.
const LOOK: Duration = Duration::from_secs(5);

/// Watches one folder until it is dropped.
pub struct Watcher {
    changed: Arc<Notify>,
    task: AbortHandle,
}

impl Watcher {
    /// Watches `folder`, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        let changed = Arc::new(Notify::new());
        let task = tokio::spawn(watch(folder.to_owned(), changed.clone())).abort_handle();
        Self { changed, task }
    }

    /// Waits for a change that has come to rest, or for the time to look anyway. A wait that is given up
    /// loses nothing.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(folder: PathBuf, changed: Arc<Notify>) {
    loop {
        // Made anew now and then: the folder may have been replaced by another one of its name.
        let (sender, mut events) = mpsc::channel(1);
        let watcher = start(&folder, sender);
        if let Err(error) = &watcher {
            debug!(folder = %folder.display(), %error, "cannot be watched; it is polled every few seconds");
            tokio::time::sleep(LOOK).await;
        }
        while let Ok(Some(())) = timeout(LOOK, events.recv()).await {
            let rest = async { while timeout(QUIET, events.recv()).await.is_ok() {} };
            let _ = timeout(LATEST, rest).await;
            changed.notify_one();
        }
        changed.notify_one();
    }
}

fn start(folder: &Path, sender: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let report = move |event: notify::Result<notify::Event>| {
        // Being read is no change; a full channel says enough.
        if event.is_ok_and(|event| !event.kind.is_access() || is_closed_after_writing(&event)) {
            let _ = sender.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(report)?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn is_closed_after_writing(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode};
    event.kind == notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::EventKind;
    use notify::event::{AccessKind, AccessMode};

    #[test]
    fn a_file_that_was_read_has_not_changed_and_one_that_was_written_has() {
        let event = |kind| notify::Event::new(EventKind::Access(kind));
        assert!(is_closed_after_writing(&event(AccessKind::Close(AccessMode::Write))));
        assert!(!is_closed_after_writing(&event(AccessKind::Close(AccessMode::Read))));
        assert!(!is_closed_after_writing(&event(AccessKind::Open(AccessMode::Any))));
    }

    /// Waits for a report of what `change` does again and again; fails if only the look by time would find it.
    async fn is_reported(folder: &Path, change: impl Fn()) {
        let watcher = Watcher::new(folder);
        let reported = async {
            loop {
                change();
                if timeout(QUIET * 4, watcher.changed()).await.is_ok() {
                    return;
                }
            }
        };
        timeout(LOOK * 4 / 5, reported).await.unwrap();
    }

    #[tokio::test]
    async fn a_written_and_a_renamed_file_are_reported_long_before_the_look_by_time() {
        let folder = tempfile::tempdir().unwrap();
        let (part, file) = (folder.path().join(".part"), folder.path().join("a.wasm"));
        is_reported(folder.path(), || std::fs::write(&file, "1").unwrap()).await;
        is_reported(folder.path(), || {
            std::fs::write(&part, "2").unwrap();
            std::fs::rename(&part, &file).unwrap();
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_not_there_is_looked_at_by_time() {
        let watcher = Watcher::new(Path::new("/no/such/folder"));
        let start = tokio::time::Instant::now();
        watcher.changed().await;
        assert!(start.elapsed() >= LOOK, "{:?}", start.elapsed());
    }
}
