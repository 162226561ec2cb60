//! Tells when the source of a plugin has changed: what builds write does not count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::folder::Watcher;

/// Folders that tools write.
const MADE: &[&str] = &["target", "node_modules", "dist", "__pycache__"];
/// Folders below the plugin's that are looked at.
const FOLDERS: usize = 200;

/// The source of one plugin.
pub(super) struct Sources {
    root: PathBuf,
    seen: BTreeMap<PathBuf, (SystemTime, u64)>,
}

impl Sources {
    /// The source in the folder `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), seen: BTreeMap::new() }
    }

    /// Takes note of how the files are now.
    pub(super) fn note(&mut self) {
        self.seen = files(&folders(&self.root));
    }

    /// Waits until a file is different from what was noted.
    pub(super) async fn changed(&self) {
        loop {
            let folders = folders(&self.root);
            let mut watchers: Vec<Watcher> = folders.iter().map(|folder| Watcher::new(folder)).collect();
            // Looked at after the watch has begun, so that nothing is missed between.
            if files(&folders) != self.seen {
                return;
            }
            any(&mut watchers).await;
        }
    }
}

/// Waits until one of them has seen something.
async fn any(watchers: &mut [Watcher]) {
    let mut waiting: Vec<_> = watchers.iter_mut().map(|watcher| Box::pin(watcher.changed())).collect();
    std::future::poll_fn(|context| {
        let is_ready = waiting.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The plugin's folder and those below it, without those that tools write.
fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        next += 1;
        let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let is_source = |name: &str| !name.starts_with('.') && !MADE.contains(&name);
        let sources = folders.filter(|entry| entry.file_name().to_str().is_some_and(is_source));
        found.extend(sources.map(|entry| entry.path()));
        found.truncate(FOLDERS);
    }
    found
}

/// When each file was written last, and how long it is.
fn files(folders: &[PathBuf]) -> BTreeMap<PathBuf, (SystemTime, u64)> {
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let stamp = |entry: std::fs::DirEntry| {
        let data = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some((entry.path(), (data.modified().ok()?, data.len())))
    };
    entries.filter_map(Result::ok).filter_map(stamp).filter(|(path, _)| is_source(path)).collect()
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_component = path.extension().is_some_and(|extension| extension == "wasm");
    let is_made = is_component || name == "Cargo.lock" || name == "package-lock.json";
    !is_made && !name.starts_with('.') && !name.ends_with('~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_saved_file_is_noticed_and_what_builds_write_is_not() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["src", "target/debug"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mut sources = Sources::new(root.path());
        sources.note();
        std::fs::write(root.path().join("target/debug/x.rs"), "").unwrap();
        std::fs::write(root.path().join("x.wasm"), "").unwrap();
        assert_eq!(files(&folders(root.path())), sources.seen);
        let saved = async { std::fs::write(root.path().join("src/lib.rs"), "fn main() {}").unwrap() };
        tokio::join!(sources.changed(), saved);
    }
}
