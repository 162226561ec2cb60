//! Starts what gives the engine its rules: the plugins of a folder, the declared kinds, and the watch over
//! the configuration file that names both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};
use weft_core::kinds;

use crate::config::Config;
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
/// The sandbox cannot be set up. A plugin that cannot be loaded is no error: what it has a say in is held.
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
async fn follow(file: PathBuf, mut config: Config, sender: watch::Sender<Arc<Wanted>>) {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let watcher = Watcher::new(folder);
    let mut told: Option<String> = None;
    loop {
        watcher.changed().await;
        match Config::load(&file) {
            Ok(new) if new == config => told = None,
            Ok(new) => {
                told = None;
                let mut rest = new.clone();
                rest.plugins.clone_from(&config.plugins);
                rest.mappings.clone_from(&config.mappings);
                if rest != config {
                    warn!(
                        "the configuration has changed; beside `plugins` and `mappings` it takes a restart"
                    );
                }
                info!("the rules of the configuration are taken in");
                sender.send_replace(Arc::new(wanted(&new)));
                config = new;
            }
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::new(error));
                if told.as_ref() != Some(&text) {
                    warn!("the configuration cannot be used; the one before stays: {text}");
                    told = Some(text);
                }
            }
        }
    }
}
