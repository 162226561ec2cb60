//! Watches the source of a plugin; files that builds write do not count.

use std::path::{Path, PathBuf};

use crate::cli::sources::{Stamps, files, folders};
use crate::folder::Watcher;

/// The source of one plugin.
pub(super) struct Sources {
    root: PathBuf,
    seen: Stamps,
}

impl Sources {
    /// The source in the folder `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), seen: Stamps::new() }
    }

    /// Remembers the current state of the files.
    pub(super) fn remember(&mut self) {
        self.seen = files(&folders(&self.root));
    }

    /// Waits until a file differs from the remembered state.
    pub(super) async fn changed(&self) {
        loop {
            let folders = folders(&self.root);
            let mut watchers: Vec<Watcher> = folders.iter().map(|folder| Watcher::new(folder)).collect();
            // Compared after the watch has begun, so that no change is missed in between.
            if files(&folders) != self.seen {
                return;
            }
            any(&mut watchers).await;
        }
    }
}

/// Waits for the first change of any watcher.
async fn any(watchers: &mut [Watcher]) {
    let mut waiting: Vec<_> = watchers.iter_mut().map(|watcher| Box::pin(watcher.changed())).collect();
    std::future::poll_fn(|context| {
        let is_ready = waiting.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_saved_file_is_a_change_and_what_builds_write_is_not() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["src", "target/debug"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mut sources = Sources::new(root.path());
        sources.remember();
        std::fs::write(root.path().join("target/debug/x.rs"), "").unwrap();
        std::fs::write(root.path().join("x.wasm"), "").unwrap();
        assert_eq!(files(&folders(root.path())), sources.seen);
        let saved = async { std::fs::write(root.path().join("src/lib.rs"), "fn main() {}").unwrap() };
        tokio::join!(sources.changed(), saved);
    }
}
