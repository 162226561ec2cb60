//! Rules from outside: `plugins`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weft_core::names::is_dns_label;

use crate::config::Error;
use crate::config::grants::Entry;

/// Where plugins are, and what each may do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Plugins {
    /// Folder of components, `<name>.wasm` each. It is watched: a new file replaces the old one without a
    /// restart. Without a folder there are no plugins.
    pub folder: Option<PathBuf>,
    /// Folder for compiled components, and for the version of each plugin that worked last, made where it is missing;
    /// nobody else may write to it. Without one, components are compiled at each start, and a version that was rolled back
    /// is tried again at the next. The chart has one in a volume that lasts as long as the pod.
    pub cache: Option<PathBuf>,
    /// Who says what a plugin may do.
    pub grants: Grants,
    /// What each plugin may do, by its name.
    pub load: BTreeMap<String, Entry>,
}

/// Who says what a plugin may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Grants {
    /// The operator, in `load`; a plugin without an entry is not loaded.
    #[default]
    Explicit,
    /// The plugin itself, unless its entry in `load` names `kinds`. For development only: whoever can write to
    /// the folder can then map every kind that the syncer has permissions for. Without an entry in `load`, its
    /// settings are in `<name>.settings.yaml` beside `<name>.wasm`; a file that is gone is a plugin that is removed.
    Requested,
}

impl Plugins {
    /// The operator's entry of a plugin; without one a plugin is loaded only where grants are `requested`.
    pub fn entry(&self, name: &str) -> Option<Entry> {
        let unlisted = || (self.grants == Grants::Requested).then(Entry::default);
        self.load.get(name).cloned().or_else(unlisted)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::Value { key: "plugins.load", why });
        if self.folder.is_none() && self.load.values().any(|entry| entry.enabled) {
            return refuse("there are plugins to load, but `plugins.folder` is missing".to_owned());
        }
        for (name, entry) in &self.load {
            if !is_dns_label(name) {
                return refuse(format!("{name:?} must be lower-case letters, digits and `-`"));
            }
            let limits = entry.limits;
            if !(10..=10_000).contains(&limits.milliseconds) || !(1..=1024).contains(&limits.mebibytes) {
                return refuse(format!(
                    "{name}: `limits` must be 10 to 10000 milliseconds and 1 to 1024 mebibytes"
                ));
            }
            let lookups = entry.lookups.iter().map(|lookup| lookup.kind.as_str());
            let kinds = entry.kinds.iter().chain(entry.writes.keys()).map(String::as_str).chain(lookups);
            if let Some(kind) = kinds.into_iter().find(|kind| !is_kind(kind)) {
                return refuse(format!("{name}: {kind:?} must be apiVersion/Kind, such as v1/Pod"));
            }
            let mut places = entry.writes.values().flatten();
            if let Some(place) = places.find(|place| !place.starts_with('/')) {
                return refuse(format!(
                    "{name}: {place:?} in `writes` must begin with '/', as in /spec/containers"
                ));
            }
        }
        Ok(())
    }
}

/// Whether it is written as `apiVersion/Kind`.
pub(super) fn is_kind(text: &str) -> bool {
    let kind = text.rsplit_once('/').map_or("", |(_, kind)| kind);
    (2..=3).contains(&text.split('/').count()) && kind.starts_with(|first: char| first.is_ascii_uppercase())
}
