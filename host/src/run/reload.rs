//! Applies what changes in the configuration file while the syncer runs, and says what needs a restart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::addons::{self, Addon};
use crate::config::{self, Config};
use crate::folder::Watcher;
use crate::plugin::manager::Wanted;
use crate::run::rules;
use crate::telemetry::LogFilter;

/// Settings that are applied without a restart, each with all that lies in it.
const LIVE: [&str; 5] = ["plugins", "mappings", "dns", "deploy", "log.level"];

/// Who applies what has changed.
pub(super) struct Targets {
    pub(super) rules: watch::Sender<Arc<Wanted>>,
    pub(super) addons: watch::Sender<Arc<Vec<Addon>>>,
    pub(super) log: LogFilter,
    /// The certificate that the virtual API server is known by.
    pub(super) authority: Option<String>,
}

/// Reads the configuration again when it changes, for ever.
pub(super) async fn follow(file: PathBuf, config: Config, targets: Targets) {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let watcher = Watcher::new(folder);
    let mut followed = Followed { config, refused: None };
    loop {
        watcher.changed().await;
        if let Some(change) = followed.reload(Config::load(&file)) {
            targets.apply(&followed.config, &change);
        }
    }
}

impl Targets {
    fn apply(&self, config: &Config, change: &Change) {
        if change.concerns(&["plugins", "mappings"]) {
            info!("the rules of the configuration are applied");
            self.rules.send_replace(Arc::new(rules::wanted(config)));
        }
        if change.concerns(&["dns", "deploy"]) {
            info!("`dns` and `deploy` of the configuration are applied");
            self.addons.send_replace(Arc::new(addons::of(config, self.authority.as_deref())));
        }
        if change.concerns(&["log.level"]) {
            match self.log.set(&config.log.level) {
                Ok(()) => info!(level = config.log.level, "the log level is changed"),
                Err(error) => warn!("the log level stays: {error}"),
            }
        }
        if !change.restart.is_empty() {
            let keys = change.restart.join(", ");
            warn!("the configuration has changed; restart the syncer to apply {keys}");
        }
    }
}

/// A configuration as it was last read.
struct Followed {
    config: Config,
    /// Why the file cannot be used now; logged once.
    refused: Option<String>,
}

/// The settings that differ between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    /// Those of [`LIVE`].
    live: BTreeSet<&'static str>,
    /// The others, as keys in quotes.
    restart: Vec<String>,
}

impl Change {
    fn concerns(&self, settings: &[&str]) -> bool {
        settings.iter().any(|setting| self.live.contains(setting))
    }
}

impl Followed {
    /// Replaces the configuration where the file has changed and can be used; returns what is different.
    fn reload(&mut self, read: Result<Config, config::Error>) -> Option<Change> {
        let new = match read {
            Ok(new) => new,
            Err(error) => {
                self.refuse(format!("{:#}", anyhow::Error::new(error)));
                return None;
            }
        };
        self.refused = None;
        if new == self.config {
            return None;
        }
        let change = difference(&self.config, &new);
        self.config = new;
        Some(change)
    }

    fn refuse(&mut self, why: String) {
        if self.refused.as_ref() != Some(&why) {
            warn!("the configuration cannot be used; the one before stays: {why}");
            self.refused = Some(why);
        }
    }
}

fn difference(old: &Config, new: &Config) -> Change {
    // Strings, numbers, maps with string keys: what was read can be written.
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut change = Change::default();
    collect("", &value(old), &value(new), &mut change);
    change
}

/// Adds the keys below `key` whose values differ.
fn collect(key: &str, old: &Value, new: &Value, change: &mut Change) {
    if old == new {
        return;
    }
    if let Some(live) = LIVE.into_iter().find(|live| *live == key) {
        change.live.insert(live);
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let value = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned();
                collect(&inner, &value(old).unwrap_or_default(), &value(new).unwrap_or_default(), change);
            }
        }
        _ => change.restart.push(format!("`{key}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rest: &str) -> Result<Config, config::Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weft.yaml");
        std::fs::write(&path, format!("cluster: {{name: a, namespace: b}}\n{rest}")).unwrap();
        Config::load(&path)
    }

    fn config(rest: &str) -> Config {
        read(rest).unwrap()
    }

    fn followed() -> Followed {
        Followed { config: config(""), refused: None }
    }

    const MAPPINGS: &str = "mappings: [{apiVersion: example.com/v1, kind: Cat, plural: cats}]";

    #[test]
    fn a_change_is_passed_on_once() {
        let mut followed = followed();
        assert!(followed.reload(read(MAPPINGS)).unwrap().concerns(&["mappings"]));
        assert_eq!(followed.reload(read(MAPPINGS)), None);
        assert!(followed.reload(read("")).unwrap().concerns(&["mappings"]));
        assert!(followed.config.mappings.is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_used_changes_nothing_and_is_reported_once() {
        let mut followed = followed();
        assert_eq!(followed.reload(read("healht: {}")), None);
        let why = followed.refused.clone().unwrap();
        assert!(why.contains("healht"), "{why}");
        assert_eq!(followed.reload(read("healht: {}")), None);
        assert_eq!(followed.config, config(""));
        // Put right, and broken again: a new fault.
        assert_eq!(followed.reload(read("")), None);
        assert_eq!(followed.refused, None);
    }

    #[test]
    fn each_setting_that_needs_a_restart_is_named_and_no_other() {
        let change = |rest: &str| difference(&config(""), &config(rest));
        let live = ["plugins: {folder: /plugins}", MAPPINGS, "dns: {replicas: 2}", "log: {level: debug}"];
        for rest in live {
            let change = change(rest);
            assert!(change.restart.is_empty() && change.live.len() == 1, "{rest}: {change:?}");
        }
        let both =
            change("log: {level: debug, format: json}\nengine: {workers: 2}\npods: {serviceAccount: x}");
        assert_eq!(both.restart, ["`engine.workers`", "`log.format`", "`pods.serviceAccount`"]);
        assert!(both.concerns(&["log.level"]) && !both.concerns(&["plugins", "mappings", "dns", "deploy"]));
    }
}
