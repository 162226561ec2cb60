//! Looks at the storage's folder before the store opens it, so that one sentence says what is wrong.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, Uid, access};

use crate::config::control_plane::StorageType;
use crate::control::files::write_private;
use crate::control::version;

/// The file of SQLite, in the folder.
pub(super) const SQLITE_FILE: &str = "kine.db";
/// The file that says which version of Kubernetes has run last, in the folder: it goes where the data goes.
const VERSION_FILE: &str = "kubernetes-version";
/// The folder of etcd, in the folder.
pub(super) const ETCD_FOLDER: &str = "etcd";
/// How every file of SQLite begins (<https://www.sqlite.org/fileformat2.html>).
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// With less free space than this no store can work.
const ENOUGH: u64 = 1024 * 1024;

/// Why the storage cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The volume cannot be written.
    #[error("the folder of the storage {folder} cannot be written: let the volume belong to the group of the pod (`fsGroup`), \
             or check whether it is mounted read-only", folder = folder.display())]
    Unwritable {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of the store cannot be written.
    #[error("{file} cannot be written by the user {user}, as which the pod runs: make that user the owner of every file there (those that were \
             restored from a backup may belong to another one)", file = file.display())]
    OfAnother {
        /// Which.
        file: PathBuf,
        /// Its number.
        user: Uid,
        /// What the system says.
        source: io::Error,
    },
    /// Data of the other store.
    #[error(
        "the folder of the storage has {found}, but `controlPlane.storage.type` is {wanted}: set it back, or move the \
             virtual cluster to a new volume"
    )]
    Other {
        /// What is there.
        found: &'static str,
        /// What is configured.
        wanted: &'static str,
    },
    /// No database.
    #[error("{file} is not a SQLite database or is damaged: restore it from a backup, or delete the volume to begin with an \
             empty virtual cluster", file = file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
    },
    /// The data is of a version that this one cannot take over.
    #[error(transparent)]
    Version(#[from] version::Error),
    /// No space.
    #[error("the volume of the storage is full ({free} bytes are free): make it larger")]
    Full {
        /// In bytes.
        free: u64,
    },
}

/// Passes if a store of this type can open the folder, for a control plane of this version of Kubernetes, which is then
/// the last that has run.
pub(super) fn check(folder: &Path, wanted: StorageType, version: &str) -> Result<(), Error> {
    let unwritable = |source| Error::Unwritable { folder: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(unwritable)?;
    let (sqlite, etcd) = (folder.join(SQLITE_FILE), folder.join(ETCD_FOLDER));
    match wanted {
        StorageType::Sqlite if etcd.exists() => {
            return Err(Error::Other { found: "etcd's data", wanted: "sqlite" });
        }
        StorageType::Etcd if sqlite.exists() => {
            return Err(Error::Other { found: "a SQLite file", wanted: "etcd" });
        }
        StorageType::Sqlite | StorageType::Etcd => {}
    }
    check_space(folder)?;
    tempfile::tempfile_in(folder).map_err(unwritable)?;
    if is_damaged(&sqlite) {
        return Err(Error::Damaged { file: sqlite });
    }
    check_files(folder)?;
    let file = folder.join(VERSION_FILE);
    version::step(fs::read_to_string(&file).ok().as_ref(), version)?;
    write_private(&file, version).map_err(unwritable)
}

fn check_space(folder: &Path) -> Result<(), Error> {
    // A file system that does not say is taken at its word when it refuses.
    let Ok(stat) = statvfs(folder) else { return Ok(()) };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free < ENOUGH { Err(Error::Full { free }) } else { Ok(()) }
}

/// Passes if every file of the stores can be written: SQLite opens one that cannot, and then answers no request.
fn check_files(folder: &Path) -> Result<(), Error> {
    let of_another =
        |file: &Path, source| Error::OfAnother { file: file.to_owned(), user: Uid::current(), source };
    let of_sqlite =
        ["-shm", "-wal", "-journal", ""].map(|suffix| folder.join(format!("{SQLITE_FILE}{suffix}")));
    let mut left = vec![folder.join(ETCD_FOLDER), folder.join(VERSION_FILE)];
    left.extend(of_sqlite);
    while let Some(file) = left.pop() {
        if !file.exists() {
            continue;
        }
        access(&file, AccessFlags::W_OK).map_err(|error| of_another(&file, error.into()))?;
        if file.is_dir() {
            for entry in file.read_dir().map_err(|error| of_another(&file, error))? {
                left.push(entry.map_err(|error| of_another(&file, error))?.path());
            }
        }
    }
    Ok(())
}

/// Whether there is a file that SQLite would refuse; an empty one is a new database.
fn is_damaged(file: &Path) -> bool {
    let mut begin = Vec::new();
    let length = SQLITE_MAGIC.len() as u64;
    let read = File::open(file).and_then(|file| file.take(length).read_to_end(&mut begin));
    read.is_ok() && !begin.is_empty() && begin != SQLITE_MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(folder: &Path, wanted: StorageType) -> Result<(), Error> {
        super::check(folder, wanted, "v1.36.3")
    }

    #[test]
    fn the_version_that_ran_last_decides_which_may_run_next_and_goes_with_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let check = |version| super::check(folder.path(), StorageType::Sqlite, version);
        check("v1.36.3").unwrap();
        assert!(matches!(check("v1.38.0"), Err(Error::Version(_))));
        check("v1.37.2").unwrap();
        assert!(matches!(check("v1.36.3"), Err(Error::Version(_))));
    }

    #[test]
    fn an_empty_folder_a_database_and_an_empty_file_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), StorageType::Sqlite).unwrap();
        check(folder.path(), StorageType::Etcd).unwrap();
        for begin in [&b""[..], b"SQLite format 3\0rest"] {
            fs::write(folder.path().join(SQLITE_FILE), begin).unwrap();
            check(folder.path(), StorageType::Sqlite).unwrap();
        }
    }

    #[test]
    fn damaged_data_and_data_of_the_other_store_are_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(SQLITE_FILE), "garbage that is no database").unwrap();
        let text = check(folder.path(), StorageType::Sqlite).unwrap_err().to_string();
        assert!(text.contains("kine.db") && text.contains("restore it from a backup"), "{text}");
        let text = check(folder.path(), StorageType::Etcd).unwrap_err().to_string();
        assert!(
            text.contains("a SQLite file") && text.contains("`controlPlane.storage.type` is etcd"),
            "{text}"
        );
        fs::remove_file(folder.path().join(SQLITE_FILE)).unwrap();
        fs::create_dir(folder.path().join(ETCD_FOLDER)).unwrap();
        let text = check(folder.path(), StorageType::Sqlite).unwrap_err().to_string();
        assert!(text.contains("etcd's data"), "{text}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_names_the_group_of_the_pod() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let text = check(&file.join("data"), StorageType::Sqlite).unwrap_err().to_string();
        assert!(text.contains("fsGroup"), "{text}");
    }
}
