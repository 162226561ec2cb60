//! Which components are in a folder.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells that a file is another one than before, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The components of a folder by plugin name: `<name>.wasm`. Symbolic links are followed, as mounted
/// ConfigMaps have them; names that begin with a dot are files in the making.
pub(super) fn list(folder: &Path) -> BTreeMap<String, (PathBuf, Signature)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let component = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".wasm")?.to_owned();
        let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
        let signature = Signature {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        (!name.starts_with('.')).then_some((name, (path, signature)))
    };
    entries.filter_map(|entry| component(entry.path())).collect()
}
