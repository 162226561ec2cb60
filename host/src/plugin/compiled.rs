//! The folder of compiled components: it is used only if nobody else can have put anything into it.
//!
//! What lies in it is run as native code, without any check: whoever writes there is the syncer.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// Levels of folders: `modules`, the version of the compiler, and its files.
const LEVELS: usize = 4;
/// Bits of a mode by which others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// A folder of compiled components.
#[derive(Debug)]
pub(super) enum Folder {
    /// Kept from one start to the next.
    Kept(PathBuf),
    /// For what a child process hands over.
    Passing(tempfile::TempDir),
}

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Somebody else may have written what is there.
    #[error("{} {why}", .path.display())]
    Foreign {
        /// The folder, or what is in it.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It cannot be made or read.
    #[error("{} cannot be used", .path.display())]
    Io {
        /// The folder, or what is in it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Folder {
    /// The folder at `path`, made where it is missing.
    ///
    /// # Errors
    /// It is not this user's alone, with all that is in it.
    pub(super) fn kept(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        check(path, LEVELS)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(Self::Kept(path.canonicalize().map_err(failed)?))
    }

    /// A folder of its own, in memory where there is no other place.
    pub(super) fn passing() -> Option<Self> {
        let places = [std::env::temp_dir(), PathBuf::from("/dev/shm")];
        let make = |place: &PathBuf| tempfile::Builder::new().prefix("weft-").tempdir_in(place).ok();
        places.iter().find_map(make).map(Self::Passing)
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(folder) => folder.path(),
        }
    }

    /// Removes what was handed over and is in use now.
    pub(super) fn taken(&self) {
        if let Self::Passing(folder) = self {
            // What is left is removed with the folder.
            let _ = std::fs::remove_dir_all(folder.path().join("modules"));
        }
    }
}

/// Passes if `path` and all that is in it are this user's alone, and nothing but files and folders.
fn check(path: &Path, levels: usize) -> Result<(), Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
    if let Some(why) = foreign(&metadata) {
        return Err(Error::Foreign { path: path.to_owned(), why });
    }
    if !metadata.is_dir() {
        return Ok(());
    }
    if levels == 0 {
        return Err(Error::Foreign { path: path.to_owned(), why: "lies deeper than any compiled component" });
    }
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let inner = entry.map_err(failed)?.path();
        match check(&inner, levels - 1) {
            // Another process of ours tidies up.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            checked => checked?,
        }
    }
    Ok(())
}

/// What makes a file or folder one that others can have written.
fn foreign(metadata: &Metadata) -> Option<&'static str> {
    if !metadata.is_dir() && !metadata.is_file() {
        return Some("is neither a file nor a folder");
    }
    if metadata.uid() != Uid::effective().as_raw() {
        return Some("belongs to another user");
    }
    (metadata.mode() & OTHERS_WRITE != 0).then_some("can be written by others than its owner")
}

#[cfg(test)]
mod tests {
    use super::*;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    /// A folder as the compiler's cache leaves it.
    fn cache() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("cache");
        std::fs::create_dir_all(cache.join("modules/wasmtime-48")).unwrap();
        std::fs::write(cache.join("modules/wasmtime-48/a"), "code").unwrap();
        (root, cache)
    }

    fn refused(cache: &Path) -> String {
        Folder::kept(cache).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_folder_of_this_user_alone_is_used_and_made_private() {
        let (root, cache) = cache();
        for path in [&cache, &root.path().join("new/folder")] {
            let folder = Folder::kept(path).unwrap();
            assert_eq!(std::fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn what_others_can_write_is_not_used() {
        for place in ["", "modules", "modules/wasmtime-48", "modules/wasmtime-48/a"] {
            for mode in [0o770, 0o702] {
                let (_root, cache) = cache();
                std::fs::set_permissions(cache.join(place), Permissions::from_mode(mode)).unwrap();
                assert!(refused(&cache).contains("can be written by others"), "{place} {mode:o}");
            }
        }
    }

    #[test]
    fn what_is_neither_file_nor_folder_is_not_used() {
        let (root, cache) = cache();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&cache, &link).unwrap();
        assert!(refused(&link).contains("neither a file nor a folder"));
        std::os::unix::fs::symlink("a", cache.join("modules/wasmtime-48/b")).unwrap();
        assert!(refused(&cache).ends_with("wasmtime-48/b is neither a file nor a folder"));
        std::fs::remove_file(cache.join("modules/wasmtime-48/b")).unwrap();
        mkfifo(&cache.join("modules/wasmtime-48/c"), Mode::S_IRWXU).unwrap();
        assert!(refused(&cache).ends_with("wasmtime-48/c is neither a file nor a folder"));
    }

    #[test]
    fn what_belongs_to_another_user_is_not_used() {
        // The root of the file system is the one folder of another user that is always there.
        let of_root = std::fs::symlink_metadata("/").unwrap();
        if Uid::effective().is_root() {
            let (_root, cache) = cache();
            let file = cache.join("modules/wasmtime-48/a");
            nix::unistd::chown(&file, Some(Uid::from_raw(12345)), None).unwrap();
            assert!(refused(&cache).ends_with("wasmtime-48/a belongs to another user"));
        } else {
            assert_eq!(foreign(&of_root), Some("belongs to another user"));
        }
    }

    #[test]
    fn what_was_handed_over_is_not_kept() {
        let folder = Folder::passing().unwrap();
        std::fs::create_dir_all(folder.path().join("modules/wasmtime-48")).unwrap();
        folder.taken();
        assert!(folder.path().is_dir() && !folder.path().join("modules").exists());
    }
}
