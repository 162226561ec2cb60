//! What becomes of plugins that keep failing: a new version gives way to the one before it, and others are
//! not called for a while.

use tracing::{debug, warn};

use super::{Manager, Refused};
use crate::plugin::reload::Denied;
use crate::registry::plugin_event::PluginEvent;

impl Manager {
    /// Puts the version before back where a new one keeps failing; says when a plugin is paused.
    pub(super) fn watch_failures(&mut self) -> bool {
        let mut put_back = Vec::new();
        let mut told = Vec::new();
        for (name, running) in &mut self.running {
            let breaker = &running.generation.breaker;
            if running.previous.is_some() && breaker.has_failed_its_trial() {
                put_back.push(name.clone());
                continue;
            }
            if breaker.has_passed_its_trial() {
                running.previous = None;
            }
            if breaker.is_open() != running.is_paused {
                running.is_paused = !running.is_paused;
                told.push((name.clone(), running.is_paused));
            }
        }
        for (name, is_paused) in told {
            if is_paused {
                warn!(plugin = name, "the plugin keeps failing and is not called for a while");
                self.publish_event(PluginEvent::warning(
                    &name,
                    "PluginPaused",
                    "it keeps failing and is not called for a while".into(),
                ));
            } else {
                debug!(plugin = name, "the plugin is called again");
            }
        }
        for name in &put_back {
            self.put_back(name);
        }
        !put_back.is_empty()
    }

    fn put_back(&mut self, name: &str) {
        let Some(running) = self.running.get_mut(name) else { return };
        let Some(previous) = running.previous.take() else { return };
        let failed = std::mem::replace(&mut running.generation, previous.clone());
        let (signature, entry) = (running.signature, running.entry.clone());
        self.denied.push(Denied { digest: failed.loaded.digest.clone(), entry: entry.clone() });
        let failures = failed.breaker.failures();
        let why = format!("{} failed on its first objects: {failures}", failed.loaded.title());
        self.metrics.set_loaded(name, &failed.loaded.descriptor.version, &failed.loaded.digest, false);
        self.metrics.set_loaded(name, &previous.loaded.descriptor.version, &previous.loaded.digest, true);
        self.metrics.reloaded(name, "put back");
        let why_and_what = format!("{why}; {} is back", previous.loaded.title());
        warn!(plugin = name, "{why_and_what}");
        self.publish_event(PluginEvent::warning(name, "PluginRolledBack", why_and_what));
        self.refused.insert(name.to_owned(), Refused { signature: Some(signature), entry, why });
    }
}
