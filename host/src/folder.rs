//! Tells when something in a folder changes.
//!
//! The folder is watched, not its files: compilers and mounted ConfigMaps put new files in the place of old
//! ones. Where the system tells nothing, as on network mounts, a look every few seconds does.

use std::path::Path;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A change is told once nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(50);
/// And at the latest this long after the first.
const LATEST: Duration = Duration::from_millis(500);
/// A look without being told.
const LOOK: Duration = Duration::from_secs(5);

/// Watches one folder.
pub struct Watcher {
    changes: mpsc::Receiver<()>,
    /// Ends the watch when it is dropped; none where the system cannot watch the folder.
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watcher {
    /// Watches `folder`, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        let (sender, changes) = mpsc::channel(1);
        let told = move |event: notify::Result<notify::Event>| {
            // Being read is no change; a full channel says all there is to say.
            if event.is_ok_and(|event| !event.kind.is_access() || is_closed_after_writing(&event)) {
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            let folder = folder.display();
            tracing::debug!(%folder, %error, "the folder cannot be watched; it is looked at every few seconds");
        }
        Self { changes, _watcher: watcher.ok() }
    }

    /// Waits for a change that has come to rest, or for the time to look anyway.
    pub async fn changed(&mut self) {
        // Without a watcher the channel is closed, and only time passes.
        if !matches!(timeout(LOOK, self.changes.recv()).await, Ok(Some(()))) {
            if self.changes.is_closed() {
                tokio::time::sleep(LOOK).await;
            }
            return;
        }
        let rest = async { while timeout(QUIET, self.changes.recv()).await.is_ok() {} };
        let _ = timeout(LATEST, rest).await;
    }
}

fn is_closed_after_writing(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode};
    event.kind == notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
}
