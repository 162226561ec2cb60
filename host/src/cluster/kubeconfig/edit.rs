//! Changes one kubeconfig file: under kubectl's lock, in one rename, with its mode and its unknown fields.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// How long another program may hold the lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a kubeconfig holds is nobody else's business.
const MODE: u32 = 0o600;

/// Changes the file if `change` says that it changed something. A file that is not there begins empty.
pub(super) fn edit(path: &Path, change: impl FnOnce(&mut Value) -> bool) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let _lock = Lock::take(path)?;
    let mut config = read(path)?;
    if change(&mut config) {
        write(path, &to_yaml(&config)?).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

/// The content of the file.
pub(super) fn read(path: &Path) -> Result<Value> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        text => text.with_context(|| format!("failed to read {}", path.display()))?,
    };
    let config: Value = serde_saphyr::from_str(&text).map_err(|error| {
        anyhow::anyhow!("failed to parse {}: {}", path.display(), error.without_snippet())
    })?;
    match config {
        Value::Null => Ok(json!({"apiVersion": "v1", "kind": "Config"})),
        Value::Object(_) => Ok(config),
        _ => bail!("{} is no kubeconfig: it has no keys", path.display()),
    }
}

/// As YAML that kubectl reads.
pub(super) fn to_yaml(config: &Value) -> Result<String> {
    serde_saphyr::to_string(config).context("failed to write the kubeconfig as YAML")
}

/// Replaces the file in one step; of a link, the file that it points to.
fn write(path: &Path, text: &str) -> Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().context("it is in no folder")?;
    let before = fs::metadata(&path).ok();
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    let mode = before.as_ref().map_or(MODE, |before| before.mode() & 0o777);
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    if let Some(before) = before {
        // Somebody else's file stays theirs, where this user may do that.
        let _ = std::os::unix::fs::fchown(file.as_file(), Some(before.uid()), Some(before.gid()));
    }
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

/// The lock that kubectl takes: a file beside the kubeconfig.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let (lock, started) = (PathBuf::from(name), Instant::now());
        loop {
            match create(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to create {}", lock.display()));
                }
            }
            if started.elapsed() > PATIENCE {
                bail!("{} is locked; if no kubectl is running, remove {}", path.display(), lock.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn create(lock: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_a_mode_and_unknown_fields_survive() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real"), folder.path().join("config"));
        fs::write(&file, "kind: Config\nx-mine: {a: [1, '2', 'yes', 'on', '1e3', \"\"]}\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        edit(&link, |config| {
            config["new"] = json!("a".repeat(3000));
            true
        })
        .unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        let config = read(&file).unwrap();
        assert_eq!(config["x-mine"]["a"], json!([1, "2", "yes", "on", "1e3", ""]));
        assert_eq!(config["new"].as_str().unwrap().len(), 3000);
        assert!(!folder.path().join("config.lock").exists());
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_an_unchanged_one_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".kube/config");
        edit(&file, |_| false).unwrap();
        assert!(!file.exists());
        edit(&file, |_| true).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, MODE);
    }

    #[test]
    fn what_is_no_kubeconfig_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        for text in ["- a\n", "a: [\n"] {
            fs::write(&file, text).unwrap();
            let error = edit(&file, |_| true).unwrap_err().to_string();
            assert!(error.contains(file.to_str().unwrap()), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
