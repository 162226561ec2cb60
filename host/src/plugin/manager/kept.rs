//! What is remembered of plugins from one start to the next: the last version that worked, and those that were rolled
//! back.
//!
//! Without it a version that was rolled back would come again at the next start, from the folder where its file still is,
//! with nothing to fall back on. It lies beside the compiled components, so where there is no folder for those, nothing is
//! remembered.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;
use weft_core::digest;

use crate::config::grants::Entry;
use crate::plugin::candidates::Candidate;
use crate::plugin::files;
use crate::plugin::reload::Denied;

/// The folder in that of compiled components.
const FOLDER: &str = "versions";
/// What is remembered of one plugin, in its own folder there.
const STATE: &str = "state.json";
/// Versions of one plugin that are remembered as rolled back, the newest of them.
const DENIED: usize = 16;

/// Remembers versions.
#[derive(Debug, Default)]
pub(super) struct Kept {
    folder: Option<PathBuf>,
}

/// What is remembered of one plugin.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    good: Option<Version>,
    #[serde(default)]
    denied: Vec<Denied>,
}

/// A version with the entry that it had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) digest: String,
    pub(super) entry: Entry,
}

impl Kept {
    /// Remembers in `cache`, a folder of compiled components that nobody else writes to: what is read there says what a
    /// plugin was granted.
    pub(super) fn new(cache: Option<&Path>) -> Self {
        Self { folder: cache.map(|cache| cache.join(FOLDER)) }
    }

    /// The last version of a plugin that worked, if its file is as it was: with the settings that it had, and what the
    /// operator grants it today, in `entry`.
    pub(super) fn good(&self, name: &str, entry: &Entry) -> Option<Candidate> {
        let good = self.read(name).good?;
        let path = self.file(name, &good.digest)?;
        let bytes = fs::read(&path).ok()?;
        let found = files::found(&path)?;
        let is_pinned = entry.digest.as_ref() == Some(&good.digest);
        let pinned = if is_pinned { entry.digest.clone() } else { good.entry.digest };
        let entry = Entry { settings: good.entry.settings, digest: pinned, ..entry.clone() };
        (digest::of_bytes(&bytes) == good.digest).then(|| Candidate { name: name.to_owned(), found, entry })
    }

    /// The versions of a plugin that were rolled back.
    pub(super) fn denied(&self, name: &str) -> Vec<Denied> {
        self.read(name).denied
    }

    /// Remembers `version`, whose file is `path` or was kept before, as the last that worked.
    pub(super) fn keep(&self, name: &str, version: Version, path: Option<&Path>) {
        if self.folder.is_none() {
            return;
        }
        let kept = path.map_or(Ok(()), |path| self.copy(name, &version.digest, path));
        let digest = version.digest.clone();
        let written = kept.and_then(|()| self.write(name, |state| state.good = Some(version)));
        report(name, written.and_then(|()| self.remove_others(name, &digest)));
    }

    /// Copies the file `path` of a version that may be kept later, if it still has this digest.
    pub(super) fn prepare(&self, name: &str, digest: &str, path: &Path) {
        report(name, self.copy(name, digest, path));
    }

    /// Remembers that a version was rolled back.
    pub(super) fn deny(&self, name: &str, denied: Denied) {
        let written = self.write(name, |state| {
            state.denied.retain(|known| !known.is(&denied.digest, &denied.entry));
            state.denied.push(denied);
            let surplus = state.denied.len().saturating_sub(DENIED);
            state.denied.drain(..surplus);
        });
        report(name, written);
    }

    /// Forgets a plugin that was removed.
    pub(super) fn forget(&self, name: &str) {
        let Some(folder) = self.folder_of(name) else { return };
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => report(name, removed),
        }
    }

    fn folder_of(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(name))
    }

    fn file(&self, name: &str, digest: &str) -> Option<PathBuf> {
        self.folder_of(name).map(|folder| folder.join(format!("{digest}.wasm")))
    }

    /// What is remembered; nothing where that cannot be read, as after an upgrade.
    fn read(&self, name: &str) -> State {
        let text = self.folder_of(name).and_then(|folder| fs::read(folder.join(STATE)).ok());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn write(&self, name: &str, change: impl FnOnce(&mut State)) -> io::Result<()> {
        let Some(folder) = self.folder_of(name) else { return Ok(()) };
        let mut state = self.read(name);
        change(&mut state);
        put(&folder.join(STATE), &serde_json::to_vec_pretty(&state)?)
    }

    fn copy(&self, name: &str, digest: &str, path: &Path) -> io::Result<()> {
        let Some(file) = self.file(name, digest) else { return Ok(()) };
        if file.exists() {
            return Ok(());
        }
        let bytes = fs::read(path)?;
        if digest::of_bytes(&bytes) != digest {
            return Err(io::Error::other("its file has changed meanwhile"));
        }
        put(&file, &bytes)
    }

    fn remove_others(&self, name: &str, digest: &str) -> io::Result<()> {
        let Some(folder) = self.folder_of(name) else { return Ok(()) };
        let kept = [STATE.to_owned(), format!("{digest}.wasm")];
        for file in fs::read_dir(folder)? {
            let file = file?;
            if !kept.iter().any(|kept| file.file_name() == kept.as_str()) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }
}

/// Writes a file that nobody else can write to, in one step: a process that ends halfway leaves the old one.
fn put(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let part = file.with_extension("part");
    let mut opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    opened.write_all(bytes)?;
    fs::rename(part, file)
}

fn report(name: &str, result: io::Result<()>) {
    if let Err(error) = result {
        let error = &error as &dyn std::error::Error;
        warn!(plugin = name, error, "failed to remember the version of the plugin for the next start");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use serde_json::json;

    use super::*;
    use crate::plugin::testing::{entry, team};

    /// What remembers in a folder, and the file `a.wasm` there.
    fn kept(folder: &tempfile::TempDir) -> (Kept, PathBuf) {
        let file = folder.path().join("a.wasm");
        fs::write(&file, "a").unwrap();
        (Kept::new(Some(folder.path())), file)
    }

    fn version(entry: Entry) -> Version {
        Version { digest: digest::of_bytes(b"a"), entry }
    }

    #[test]
    fn a_version_comes_back_with_its_settings_and_what_it_is_granted_today() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, file) = kept(&folder);
        assert!(kept.good("labels", &team("web")).is_none());
        kept.keep("labels", version(team("web")), Some(&file));
        fs::remove_file(file).unwrap();
        let today = entry(json!({"kinds": ["v1/Secret"], "settings": {"team": "shop"}}));
        let good = kept.good("labels", &today).unwrap();
        assert_eq!(good.entry, entry(json!({"kinds": ["v1/Secret"], "settings": {"team": "web"}})));
        assert_eq!(fs::read(good.found.path).unwrap(), b"a");
        kept.forget("labels");
        assert!(kept.good("labels", &today).is_none());
        kept.forget("labels");
    }

    #[test]
    fn nobody_else_can_write_what_is_remembered_and_one_version_of_it_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, file) = kept(&folder);
        kept.prepare("labels", &digest::of_bytes(b"a"), &file);
        fs::write(&file, "b").unwrap();
        let newer = Version { digest: digest::of_bytes(b"b"), entry: team("web") };
        kept.keep("labels", newer.clone(), Some(&file));
        let mut names = Vec::new();
        for file in fs::read_dir(folder.path().join("versions/labels")).unwrap().map(Result::unwrap) {
            assert_eq!(file.metadata().unwrap().mode() & 0o077, 0, "{file:?}");
            names.push(file.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, [format!("{}.wasm", newer.digest), "state.json".to_owned()]);
    }

    #[test]
    fn a_file_that_is_not_the_versions_any_more_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, file) = kept(&folder);
        fs::write(&file, "written meanwhile").unwrap();
        kept.keep("labels", version(team("web")), Some(&file));
        assert!(kept.good("labels", &team("web")).is_none());
    }

    #[test]
    fn the_newest_versions_that_were_rolled_back_are_remembered_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, _) = kept(&folder);
        for number in (0..20).chain([19]) {
            let failures = "5 of 5 calls".to_owned();
            kept.deny("labels", Denied { digest: number.to_string(), entry: team("web"), failures });
        }
        let denied: Vec<String> = kept.denied("labels").into_iter().map(|denied| denied.digest).collect();
        assert_eq!(denied, (4..20).map(|number| number.to_string()).collect::<Vec<_>>());
        assert!(kept.denied("others").is_empty());
        assert!(Kept::new(None).denied("labels").is_empty());
    }
}
