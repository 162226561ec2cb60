//! The folder of a plugin project: its component, its cases and its settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use crate::author::workbench::Workbench;
use crate::cli::sources;
use crate::config::DeclaredMapping;
use crate::plugin::apart::Workplace;
use crate::plugin::files;
use crate::plugin::sandbox::Sandbox;

/// The folder of built components.
pub(super) const DIST: &str = "dist";
/// The folder of cases.
pub(super) const CASES: &str = "cases";
/// The file with settings for development.
const SETTINGS: &str = "settings.yaml";

/// The component of `folder`, if there is one: in [`DIST`], or beside the source.
pub(super) fn component(folder: &Path) -> Result<Option<PathBuf>> {
    for folder in [folder.join(DIST), folder.to_owned()] {
        match <[PathBuf; 1]>::try_from(components(&folder)) {
            Ok([file]) => return Ok(Some(file)),
            Err(found) if found.is_empty() => {}
            Err(found) => {
                let names: Vec<String> = found.iter().map(|file| file.display().to_string()).collect();
                bail!(
                    "there is more than one component; name one or remove the others: {}",
                    names.join(", ")
                );
            }
        }
    }
    Ok(None)
}

/// Whether a source file of `folder` is newer than `component`. Cases and settings do not count.
pub(super) fn is_stale(folder: &Path, component: &Path) -> bool {
    let Ok(built) = component.metadata().and_then(|data| data.modified()) else { return true };
    let mut folders = sources::folders(folder);
    folders.retain(|below| !below.starts_with(folder.join(CASES)));
    let settings = folder.join(SETTINGS);
    sources::files(&folders).iter().any(|(file, (written, _))| *written > built && *file != settings)
}

/// The settings of the plugin at `path`, if there are any: in the folder of a plugin, or beside a component as a syncer finds
/// them.
pub(super) fn settings(path: &Path) -> Option<PathBuf> {
    let file = if path.is_file() { files::settings_file(path) } else { path.join(SETTINGS) };
    Some(file).filter(|file| file.is_file())
}

/// The files of a folder that end in `.wasm`, sorted.
pub(super) fn components(folder: &Path) -> Vec<PathBuf> {
    with_extension(folder, "wasm")
}

/// The cases that belong to the component or folder at `path`, sorted.
pub(super) fn cases(path: &Path) -> Result<Vec<PathBuf>> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let folder = if folder.ends_with(DIST) { folder.parent().unwrap_or(folder) } else { folder };
    let folder = folder.join(CASES);
    let found = with_extension(&folder, "yaml");
    if found.is_empty() {
        bail!("there are no cases: no *.yaml in {}; `weft plugin record` writes one", folder.display());
    }
    Ok(found)
}

/// The files of a folder with this extension, sorted.
pub(super) fn with_extension(folder: &Path, wanted: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let files = entries.map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|extension| extension == wanted)).collect();
    found.sort();
    found
}

/// Writes a file atomically: readers see the old or the new content.
pub(super) fn write_whole(file: &Path, bytes: &[u8]) -> Result<()> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("component");
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let new = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, file));
    written
        .inspect_err(|_| drop(std::fs::remove_file(&new)))
        .with_context(|| format!("failed to write {}", file.display()))
}

/// A workbench with a cache of compiled components, if there is a place for it: a component that contains Python takes
/// seconds to compile.
pub(super) fn workbench() -> Result<Workbench> {
    let home = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let folder = home("XDG_CACHE_HOME").or_else(|| home("HOME").map(|home| home.join(".cache")));
    let cache = folder.map(|folder| folder.join("weft").join("components"));
    workbench_with(cache.as_deref(), &[])
}

/// A workbench with the folder `cache` for compiled components, and the declared mappings.
pub(super) fn workbench_with(cache: Option<&Path>, declared: &[DeclaredMapping]) -> Result<Workbench> {
    Workbench::in_sandbox(Arc::new(Sandbox::at(Workplace::this_program(), cache)?), declared)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_component_is_found_in_dist_first_and_two_are_one_too_many() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(component(folder.path()).unwrap(), None);
        write_whole(&folder.path().join("a.wasm"), b"").unwrap();
        assert_eq!(component(folder.path()).unwrap(), Some(folder.path().join("a.wasm")));
        write_whole(&folder.path().join("dist/b.wasm"), b"").unwrap();
        assert_eq!(component(folder.path()).unwrap(), Some(folder.path().join("dist/b.wasm")));
        write_whole(&folder.path().join("dist/c.wasm"), b"").unwrap();
        assert!(component(folder.path()).unwrap_err().to_string().contains("more than one"));
    }

    #[test]
    fn a_component_is_stale_when_its_source_is_newer_but_not_when_its_cases_are() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, minutes: u64| {
            let path = folder.path().join(name);
            write_whole(&path, b"").unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(60 * minutes);
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let component = write("dist/a.wasm", 2);
        write("src/lib.rs", 1);
        for later in ["cases/a.yaml", "settings.yaml", "target/x.rs", "node_modules/a/b.js", ".venv/c.py"] {
            write(later, 3);
        }
        assert!(!is_stale(folder.path(), &component));
        write("src/deep/rule.rs", 3);
        assert!(is_stale(folder.path(), &component));
    }

    #[test]
    fn cases_are_beside_the_component_or_above_dist() {
        let folder = tempfile::tempdir().unwrap();
        write_whole(&folder.path().join("cases/a.yaml"), b"").unwrap();
        let found = [folder.path().join("cases/a.yaml")];
        for path in ["", "x.wasm", "dist/x.wasm"] {
            assert_eq!(cases(&folder.path().join(path)).unwrap(), found, "{path}");
        }
    }
}
