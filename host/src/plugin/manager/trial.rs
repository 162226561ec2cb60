//! What becomes of plugins that keep failing: a new version is rolled back to the one before it, and others
//! are not called for a while.

use tracing::{debug, warn};

use super::{Manager, Refused};
use crate::plugin::reload::Denied;
use crate::registry::plugin_event::PluginEvent;

impl Manager {
    /// Rolls back a new version that keeps failing, and reports a plugin that is paused; returns whether
    /// anything was rolled back.
    pub(super) fn check_trials(&mut self) -> bool {
        let mut failed = Vec::new();
        let mut turned = Vec::new();
        for (name, running) in &mut self.running {
            let breaker = &running.generation.breaker;
            if running.previous.is_some() && breaker.has_failed_its_trial() {
                failed.push(name.clone());
                continue;
            }
            if breaker.has_passed_its_trial() {
                running.previous = None;
            }
            if breaker.is_open() != running.is_paused {
                running.is_paused = !running.is_paused;
                turned.push((name.clone(), running.is_paused));
            }
        }
        for (name, is_paused) in turned {
            self.report_pause(&name, is_paused);
        }
        for name in &failed {
            self.roll_back(name);
        }
        !failed.is_empty()
    }

    fn report_pause(&self, name: &str, is_paused: bool) {
        if is_paused {
            let why = "it keeps failing and is not called for a while";
            warn!(plugin = name, "the plugin is paused: {why}");
            self.publish_event(PluginEvent::warning(name, "PluginPaused", why.into()));
        } else {
            debug!(plugin = name, "the plugin is called again");
        }
    }

    fn roll_back(&mut self, name: &str) {
        let Some(running) = self.running.get_mut(name) else { return };
        let Some(previous) = running.previous.take() else { return };
        let failed = std::mem::replace(&mut running.generation, previous.clone());
        let (signature, entry) = (running.signature, running.entry.clone());
        self.denied.push(Denied { digest: failed.loaded.digest.clone(), entry: entry.clone() });
        let failures = failed.breaker.failures();
        let why = format!("{} failed on its first objects: {failures}", failed.loaded.title());
        self.set_loaded(&failed, false);
        self.set_loaded(&previous, true);
        self.metrics.reloaded(name, "rolled back");
        let message = format!("{why}; rolled back to {}", previous.loaded.title());
        warn!(plugin = name, "{message}");
        self.publish_event(PluginEvent::warning(name, "PluginRolledBack", message));
        self.refused.insert(name.to_owned(), Refused { signature: Some(signature), entry, why });
    }
}
