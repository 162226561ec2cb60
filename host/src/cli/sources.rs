//! Lists the source files of a plugin's folder with their times; files that tools write do not count.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders that tools write.
const MADE: &[&str] = &["target", "node_modules", "dist", "__pycache__"];
/// Most folders that are searched.
const FOLDERS: usize = 200;

/// Modification time and length of each file.
pub(super) type Stamps = BTreeMap<PathBuf, (SystemTime, u64)>;

/// The plugin's folder and those below it, without those that tools write.
pub(super) fn folders(root: &Path) -> Vec<PathBuf> {
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

/// The source files in these folders.
pub(super) fn files(folders: &[PathBuf]) -> Stamps {
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let stamp = |entry: std::fs::DirEntry| {
        // Of a link, what it leads to.
        let data = std::fs::metadata(entry.path()).ok().filter(std::fs::Metadata::is_file)?;
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
