//! Which components of `plugins.folder` are to be loaded, and with which entry of `plugins.load`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::grants::Entry;
use crate::config::{Grants, Plugins, nearest};
use crate::plugin::files::{self, Found};

/// A component that is to be loaded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) found: Found,
    /// The operator's entry, before anything is granted on request.
    pub(crate) entry: Entry,
}

/// Whether a plugin that the folder or the configuration names is to be loaded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Listed {
    /// It is to be loaded.
    Load(Candidate),
    /// It is to be loaded, and the settings beside it cannot be read: why.
    Unreadable(Candidate, String),
    /// It is to be loaded, and there is no file: why.
    Missing(Entry, String),
    /// Its entry says `enabled: false`.
    Disabled,
    /// This file has no entry, and that means no.
    Unlisted(PathBuf),
}

/// The components in `plugins.folder`, by name; none without a folder.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn files(plugins: &Plugins) -> std::io::Result<BTreeMap<String, Found>> {
    plugins.folder.as_deref().map_or_else(|| Ok(BTreeMap::new()), files::list)
}

/// What is to be done with each of `files` and with each entry of `plugins.load`, by name.
pub(crate) fn list(plugins: &Plugins, files: BTreeMap<String, Found>) -> BTreeMap<String, Listed> {
    let missing = plugins.load.iter().filter(|(name, _)| !files.contains_key(*name));
    let missing = missing.map(|(name, entry)| {
        let why = || no_file(name, files.keys());
        let listed = if entry.enabled { Listed::Missing(entry.clone(), why()) } else { Listed::Disabled };
        (name.clone(), listed)
    });
    let mut listed: BTreeMap<String, Listed> = missing.collect();
    listed.extend(files.into_iter().map(|(name, found)| (name.clone(), of_file(plugins, name, found))));
    listed
}

fn of_file(plugins: &Plugins, name: String, found: Found) -> Listed {
    let entry = match plugins.entry(&name) {
        None => return Listed::Unlisted(found.path),
        Some(entry) if !entry.enabled => return Listed::Disabled,
        Some(entry) => entry,
    };
    match with_settings(plugins, &name, &found.path, entry.clone()) {
        Ok(entry) => Listed::Load(Candidate { name, found, entry }),
        Err(why) => Listed::Unreadable(Candidate { name, found, entry }, why),
    }
}

/// `entry` of the plugin `name`: in development, and where `plugins.load` has none, with the settings beside
/// its component `path`.
///
/// # Errors
/// Why the settings cannot be read.
pub(crate) fn with_settings(
    plugins: &Plugins,
    name: &str,
    path: &Path,
    mut entry: Entry,
) -> Result<Entry, String> {
    if plugins.grants == Grants::Requested && !plugins.load.contains_key(name) {
        entry.settings = files::settings(path)?;
    }
    Ok(entry)
}

/// Says that a plugin has no file, and which one may be meant.
fn no_file<'a>(name: &str, files: impl Iterator<Item = &'a String>) -> String {
    /// Other plugins than the one that is meant have names that are a little alike, too.
    const ALIKE: f64 = 0.8;
    let near = nearest(name, files).filter(|(likeness, _)| *likeness > ALIKE);
    let hint = near.map_or_else(String::new, |(_, file)| format!("; is {file}.wasm meant?"));
    format!("there is no file {name}.wasm in `plugins.folder`{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is listed for a folder with these files.
    fn listed(grants: &str, load: &serde_json::Value, files: &[(&str, &str)]) -> BTreeMap<String, Listed> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let plugins = json!({"folder": folder.path(), "grants": grants, "load": load});
        let plugins: Plugins = serde_json::from_value(plugins).unwrap();
        list(&plugins, super::files(&plugins).unwrap())
    }

    fn settings(listed: &Listed) -> String {
        let Listed::Load(candidate) = listed else { panic!("{listed:?} is not to be loaded") };
        serde_json::to_string(&candidate.entry.settings).unwrap()
    }

    #[test]
    fn a_component_is_loaded_where_it_has_an_entry_that_does_not_disable_it() {
        let load = json!({"listed": {"settings": {"a": 1}}, "off": {"enabled": false}});
        let files =
            [("listed.wasm", ""), ("off.wasm", ""), ("other.wasm", ""), (".part.wasm", ""), ("a.txt", "")];
        let listed = listed("explicit", &load, &files);
        assert_eq!(listed.keys().collect::<Vec<_>>(), ["listed", "off", "other"]);
        assert_eq!(settings(&listed["listed"]), r#"{"a":1}"#);
        assert_eq!(listed["off"], Listed::Disabled);
        assert!(matches!(&listed["other"], Listed::Unlisted(path) if path.ends_with("other.wasm")));
    }

    #[test]
    fn in_development_a_component_needs_no_entry_and_has_the_settings_beside_it() {
        let load = json!({"entry": {"settings": {"from": "load"}}, "off": {"enabled": false}});
        let files = [
            ("plain.wasm", ""),
            ("beside.wasm", ""),
            ("beside.settings.yaml", "from: file"),
            ("entry.wasm", ""),
            ("entry.settings.yaml", "from: file"),
            ("off.wasm", ""),
        ];
        let listed = listed("requested", &load, &files);
        assert_eq!(settings(&listed["plain"]), "{}");
        assert_eq!(settings(&listed["beside"]), r#"{"from":"file"}"#);
        assert_eq!(settings(&listed["entry"]), r#"{"from":"load"}"#);
        assert_eq!(listed["off"], Listed::Disabled);
    }

    #[test]
    fn settings_beside_a_component_count_in_development_alone() {
        let files = [("a.wasm", ""), ("a.settings.yaml", "from: file")];
        assert_eq!(settings(&listed("explicit", &json!({"a": {}}), &files)["a"]), "{}");
    }

    #[test]
    fn settings_that_cannot_be_read_are_reported_with_their_file() {
        let listed = listed("requested", &json!({}), &[("a.wasm", ""), ("a.settings.yaml", "[1, 2]")]);
        let Listed::Unreadable(_, why) = &listed["a"] else { panic!("{listed:?}") };
        assert!(why.contains("a.settings.yaml"), "{why}");
    }

    #[test]
    fn an_entry_without_a_file_is_missing_and_the_nearest_name_is_proposed() {
        let load = json!({"team-lable": {}, "other": {}, "off": {"enabled": false}});
        let listed = listed("explicit", &load, &[("team-label.wasm", "")]);
        let why = |name: &str| match &listed[name] {
            Listed::Missing(_, why) => why.clone(),
            listed => panic!("{listed:?}"),
        };
        assert_eq!(
            why("team-lable"),
            "there is no file team-lable.wasm in `plugins.folder`; is team-label.wasm meant?"
        );
        assert_eq!(why("other"), "there is no file other.wasm in `plugins.folder`");
        assert_eq!(listed["off"], Listed::Disabled);
    }
}
