//! Which components lie in a folder, and which settings lie beside them.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::yaml;

/// A component in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(super) signature: Signature,
}

/// Differs when a component or its settings have changed, and is made without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    component: Stamp,
    settings: Option<Stamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The components of a folder by plugin name: `<name>.wasm`. Symbolic links are followed, as mounted
/// ConfigMaps have them; names that begin with a dot are files in the making.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn list(folder: &Path) -> std::io::Result<BTreeMap<String, Found>> {
    let entries = std::fs::read_dir(folder)?.filter_map(Result::ok);
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".wasm")?.to_owned();
        if name.starts_with('.') { None } else { Some((name, found(&path)?)) }
    };
    Ok(entries.filter_map(|entry| named(entry.path())).collect())
}

/// The component in the file `path`; none where there is no file.
pub(super) fn found(path: &Path) -> Option<Found> {
    let signature = Signature { component: stamp(path)?, settings: stamp(&settings_file(path)) };
    Some(Found { path: path.to_owned(), signature })
}

/// The settings beside the component `path`; none if there are none.
///
/// # Errors
/// Why they cannot be read, for a developer.
pub(super) fn settings(path: &Path) -> Result<Map<String, Value>, String> {
    let file = settings_file(path);
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = match std::fs::read_to_string(&file) {
        Ok(text) if text.trim().is_empty() => return Ok(Map::new()),
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(format!("its {name} cannot be read: {error}")),
    };
    yaml::read(&text).map_err(|why| format!("its {name} is not YAML with settings: {why}"))
}

/// `my-mapping.settings.yaml` for `my-mapping.wasm`.
pub(crate) fn settings_file(component: &Path) -> PathBuf {
    component.with_extension("settings.yaml")
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_differs_when_it_or_the_settings_beside_it_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.wasm");
        assert_eq!(found(&file), None);
        std::fs::write(&file, "a").unwrap();
        let first = found(&file).unwrap();
        assert_eq!(list(folder.path()).unwrap().get("a"), Some(&first));
        std::fs::write(settings_file(&file), "team: web").unwrap();
        let with_settings = found(&file).unwrap();
        assert_ne!(first, with_settings);
        std::fs::write(&file, "longer").unwrap();
        assert_ne!(found(&file).unwrap(), with_settings);
    }
}
