//! Starts what gives the engine its rules: the plugins of a folder and the declared kinds.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use weft_core::kinds;

use crate::config::Config;
use crate::plugin::apart::Workplace;
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
    /// What the rules come from, to be replaced when the configuration changes.
    pub(super) wanted: watch::Sender<Arc<Wanted>>,
    /// Ends the changes when it is dropped.
    pub(super) tasks: JoinSet<()>,
}

/// Loads the plugins that there are, and follows what changes of them.
///
/// # Errors
/// The sandbox cannot be set up. A plugin that cannot be loaded is no error: its failure policy applies.
pub(super) async fn start(config: &Config, shared: &health::Shared) -> Result<Source> {
    let wanted = Arc::new(wanted(config));
    let sandbox = Sandbox::at(Workplace::this_program(), config.plugins.cache.as_deref());
    let sandbox = Arc::new(sandbox.context("failed to set up the sandbox of plugins")?);
    let metrics = {
        let mut registry = shared.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(Metrics::registered(registry.sub_registry_with_prefix("weft")))
    };
    let (events, plugin_events) = mpsc::channel(EVENTS);
    let versions = sandbox.kept().map(Path::to_owned);
    let (mut manager, rules) = Manager::new(Parts {
        versions,
        wanted: wanted.clone(),
        sandbox,
        names: config.names()?,
        metrics,
        registry: Registry::new(kinds::builtin()),
        events,
        status: shared.plugins.clone(),
    });
    manager.load().await;
    let (wanted, receiver) = watch::channel(wanted);
    let mut tasks = JoinSet::new();
    tasks.spawn(manager.run(receiver));
    Ok(Source { rules, plugin_events, wanted, tasks })
}

/// What the rules of this configuration come from.
pub(super) fn wanted(config: &Config) -> Wanted {
    Wanted { plugins: config.plugins.clone(), declared: config.mappings.clone() }
}
