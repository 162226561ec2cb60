//! Keeps the plugins that are called in step with a folder and with the configuration.
//!
//! A new version is read, checked, compiled, described, given its settings and tried on recent calls before
//! it replaces the old one, in one step. Whatever goes wrong, the old one stays in use, and one line says why.

mod change;
mod kept;
mod publish;
mod scan;
#[cfg(test)]
mod testing;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use weft_core::names::Names;
use weft_core::object::Kind;

use crate::config::grants::Entry;
use crate::config::{DeclaredMapping, Grants, Plugins};
use crate::folder::Watcher;
use crate::plugin::files::Signature;
use crate::plugin::generation::Generation;
use crate::plugin::metrics::Metrics;
use crate::plugin::reload::Denied;
use crate::plugin::sandbox::Sandbox;
use crate::plugin::status::{Paused, Status};
use crate::registry::plugin_event::PluginEvent;
use crate::registry::{Registry, Rules};
use kept::Kept;

/// Between two checks whether a plugin keeps failing.
const TRIAL_CHECK: Duration = Duration::from_millis(500);

/// The part of the configuration that rules come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// `plugins`.
    pub plugins: Plugins,
    /// `mappings`.
    pub declared: Vec<DeclaredMapping>,
}

/// Keeps plugins in step.
pub struct Manager {
    wanted: Arc<Wanted>,
    sandbox: Arc<Sandbox>,
    names: Names,
    metrics: Arc<Metrics>,
    registry: Registry,
    running: BTreeMap<String, Running>,
    refused: BTreeMap<String, Refused>,
    /// Versions that were rolled back: not tried again.
    denied: Vec<Denied>,
    kept: Kept,
    clean_up: BTreeSet<Kind>,
    rules: watch::Sender<Arc<Rules>>,
    events: mpsc::Sender<PluginEvent>,
    status: Arc<Status>,
}

/// A plugin that is called.
struct Running {
    signature: Signature,
    /// The operator's entry, before anything is granted on request.
    entry: Entry,
    generation: Arc<Generation>,
    /// The version before, until this one has shown that it works.
    previous: Option<Previous>,
    /// As it was reported.
    paused: Option<Paused>,
    is_file_gone: bool,
}

/// A version that was called before.
struct Previous {
    generation: Arc<Generation>,
    /// The operator's entry, before anything is granted on request.
    entry: Entry,
}

/// A plugin that is to be loaded and whose file, as it is now, is not.
struct Refused {
    /// None where there is no file.
    signature: Option<Signature>,
    entry: Entry,
    why: String,
}

/// What a manager works with.
pub struct Parts {
    /// What is wanted at the start.
    pub wanted: Arc<Wanted>,
    /// Runs the components.
    pub sandbox: Arc<Sandbox>,
    /// Where versions are remembered for the next start, if they are; nobody else may write there.
    pub versions: Option<PathBuf>,
    /// How names are made.
    pub names: Names,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// Composes the rules of each kind.
    pub registry: Registry,
    /// Receives the events of plugins; what nobody receives is only logged.
    pub events: mpsc::Sender<PluginEvent>,
    /// Shows what is loaded.
    pub status: Arc<Status>,
}

impl Manager {
    /// A manager, and the rules as they change. Nothing is loaded before [`Self::load`].
    pub fn new(parts: Parts) -> (Self, watch::Receiver<Arc<Rules>>) {
        let Parts { wanted, sandbox, versions, names, metrics, registry, events, status } = parts;
        let (rules, receiver) = watch::channel(Arc::default());
        let manager = Self {
            wanted,
            sandbox,
            names,
            metrics,
            registry,
            running: BTreeMap::new(),
            refused: BTreeMap::new(),
            denied: Vec::new(),
            kept: Kept::new(versions.as_deref()),
            clean_up: BTreeSet::new(),
            rules,
            events,
            status,
        };
        (manager, receiver)
    }

    /// Loads what there is, before anything is mapped.
    pub async fn load(&mut self) {
        self.scan().await;
        self.publish();
    }

    /// Follows the folder and the configuration until it is dropped.
    pub async fn run(mut self, mut wanted: watch::Receiver<Arc<Wanted>>) {
        let mut watcher = self.watcher();
        let mut trials = tokio::time::interval(TRIAL_CHECK);
        let mut is_configured = true;
        loop {
            let is_changed = tokio::select! {
                () = changed(watcher.as_ref()) => self.scan().await,
                changed = wanted.changed(), if is_configured => {
                    is_configured = changed.is_ok();
                    let old = std::mem::replace(&mut self.wanted, wanted.borrow_and_update().clone());
                    if self.wanted.plugins.folder != old.plugins.folder {
                        watcher = self.watcher();
                    }
                    publish::log_no_longer_declared(&old, &self.wanted);
                    self.scan().await;
                    true
                }
                _ = trials.tick() => self.check_trials(),
            };
            if is_changed {
                self.publish();
            }
        }
    }

    fn watcher(&self) -> Option<Watcher> {
        self.wanted.plugins.folder.as_deref().map(Watcher::new)
    }

    /// Whether plugins are granted what they request.
    fn is_development(&self) -> bool {
        self.wanted.plugins.grants == Grants::Requested
    }
}

async fn changed(watcher: Option<&Watcher>) {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Bench, load};
    use super::*;
    use crate::plugin::testing::component;

    /// Longer than a look by time.
    const SOON: Duration = Duration::from_secs(20);

    /// Waits until the rules give pods this label.
    async fn has_team(bench: &mut Bench, team: &str) {
        let applied = async {
            while bench.team() != team {
                bench.rules.changed().await.unwrap();
            }
        };
        tokio::time::timeout(SOON, applied).await.unwrap();
    }

    #[tokio::test]
    async fn a_manager_follows_the_folder_and_the_configuration_until_it_is_dropped() {
        let mut bench = Bench::new("explicit", &load("web"));
        let (sender, receiver) = watch::channel(bench.wanted("explicit", &load("web")));
        let mut manager = bench.take_manager();
        manager.load().await;
        let task = tokio::spawn(manager.run(receiver));
        has_team(&mut bench, "PluginNotLoaded").await;
        bench.put("team-label.wasm", &component());
        has_team(&mut bench, "web").await;
        sender.send_replace(bench.wanted("explicit", &load("shop")));
        has_team(&mut bench, "shop").await;
        // Another folder, in which there is nothing.
        let empty = Bench::new("requested", &load("shop"));
        sender.send_replace(empty.wanted("requested", &load("shop")));
        has_team(&mut bench, "no team").await;
        // A configuration that is no longer followed ends nothing.
        drop(sender);
        empty.put("team-label.wasm", &component());
        has_team(&mut bench, "shop").await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(bench.rules.changed().await.is_err(), "nothing is left of it");
    }
}
