//! Files in the folder that the containers of the control plane share.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Only the user of the containers.
const PRIVATE: u32 = 0o600;
const PROGRAM: u32 = 0o755;

/// Writes a file that only its owner may read, whole or not at all: others may be reading the one before.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    replace(path, PRIVATE, |file| file.write_all(text.as_bytes()))
}

/// Copies this program to `path`, so that images without it can be started through it.
pub(super) fn copy_program(path: &Path) -> io::Result<()> {
    let mut program = fs::File::open(std::env::current_exe()?)?;
    replace(path, PROGRAM, |file| io::copy(&mut program, file).map(drop))
}

fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    write(file.as_file_mut())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_replaces_the_one_before_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pki/ca.key");
        write_private(&path, "one").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn the_copy_of_the_program_is_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bin/weft");
        copy_program(&path).unwrap();
        let program = std::env::current_exe().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), fs::metadata(program).unwrap().len());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PROGRAM);
    }
}
