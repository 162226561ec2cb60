//! Starts what gives the engine its rules: the plugins of a folder, the declared kinds, and the watch over
//! the configuration file that names both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};
use weft_core::kinds;

use crate::config::{self, Config};
use crate::folder::Watcher;
use crate::plugin::manager::{Manager, Parts, Wanted};
use crate::plugin::metrics::Metrics;
use crate::plugin::sandbox::Sandbox;
use crate::registry::plugin_event::PluginEvent;
use crate::registry::{Registry, Rules};
use crate::run::health;

/// Events of plugins that may wait to be published.
const EVENTS: usize = 64;

/// The rules as they change, and the tasks that change them.
pub(super) struct Source {
    /// The rules; complete at the start.
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    /// What happens to plugins.
    pub(super) plugin_events: mpsc::Receiver<PluginEvent>,
    /// Ends the changes when it is dropped.
    pub(super) tasks: JoinSet<()>,
}

/// Loads the plugins that there are, and follows the changes of `file`, which `config` was read from.
///
/// # Errors
/// The sandbox cannot be set up. A plugin that cannot be loaded is no error: its failure policy applies.
pub(super) async fn start(file: &Path, config: &Config, shared: &health::Shared) -> Result<Source> {
    let wanted = Arc::new(wanted(config));
    let sandbox = Sandbox::new(config.plugins.cache.as_deref());
    let sandbox = Arc::new(sandbox.context("failed to set up the sandbox of plugins")?);
    let metrics = {
        let mut registry = shared.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(Metrics::registered(registry.sub_registry_with_prefix("weft")))
    };
    let (events, plugin_events) = mpsc::channel(EVENTS);
    let (mut manager, rules) = Manager::new(Parts {
        wanted: wanted.clone(),
        sandbox,
        names: config.names()?,
        metrics,
        registry: Registry::new(kinds::builtin()),
        events,
        status: shared.plugins.clone(),
    });
    manager.load().await;
    let (sender, receiver) = watch::channel(wanted);
    let mut tasks = JoinSet::new();
    tasks.spawn(manager.run(receiver));
    tasks.spawn(follow(file.to_owned(), config.clone(), sender));
    Ok(Source { rules, plugin_events, tasks })
}

fn wanted(config: &Config) -> Wanted {
    Wanted { plugins: config.plugins.clone(), declared: config.mappings.clone() }
}

/// Reads the configuration again when it changes, and passes on what can change without a restart.
async fn follow(file: PathBuf, config: Config, sender: watch::Sender<Arc<Wanted>>) {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let watcher = Watcher::new(folder);
    let mut followed = Followed { config, refused: None };
    loop {
        watcher.changed().await;
        if let Some(wanted) = followed.reload(Config::load(&file)) {
            sender.send_replace(Arc::new(wanted));
        }
    }
}

/// A configuration as it was last read.
struct Followed {
    config: Config,
    /// Why the file cannot be used now; logged once.
    refused: Option<String>,
}

impl Followed {
    /// Replaces the configuration where the file has changed and can be used; returns what its rules come from.
    fn reload(&mut self, read: Result<Config, config::Error>) -> Option<Wanted> {
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
        if needs_restart(&self.config, &new) {
            warn!("the configuration has changed; beside `plugins` and `mappings` it takes a restart");
        }
        info!("the rules of the configuration are applied");
        let wanted = wanted(&new);
        self.config = new;
        Some(wanted)
    }

    fn refuse(&mut self, why: String) {
        if self.refused.as_ref() != Some(&why) {
            warn!("the configuration cannot be used; the one before stays: {why}");
            self.refused = Some(why);
        }
    }
}

/// Whether more has changed than what is applied while the syncer runs.
fn needs_restart(old: &Config, new: &Config) -> bool {
    let (plugins, mappings) = (old.plugins.clone(), old.mappings.clone());
    Config { plugins, mappings, ..new.clone() } != *old
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
        let wanted = followed.reload(read(MAPPINGS)).unwrap();
        assert_eq!((wanted.declared.len(), wanted.declared[0].kind.as_str()), (1, "Cat"));
        assert_eq!(followed.reload(read(MAPPINGS)), None);
        assert_eq!(followed.reload(read("")).map(|wanted| wanted.declared.len()), Some(0));
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
    fn plugins_and_mappings_take_no_restart_and_everything_else_does() {
        let old = config("");
        assert!(!needs_restart(&old, &config(MAPPINGS)));
        assert!(!needs_restart(&old, &config("plugins: {folder: /plugins}")));
        assert!(needs_restart(&old, &config("log: {level: debug}")));
        assert!(needs_restart(&old, &config(&format!("log: {{level: debug}}\n{MAPPINGS}"))));
    }
}
