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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{Bench, load};
    use crate::plugin::testing::{component, newer};

    const FILE: &str = "team-label.wasm";
    const FAILED: &str = "version 0.2.0 failed on its first objects: 5 of 5 calls, first with PluginTrapped";

    /// A manager that has replaced 0.1.0 with 0.2.0.
    async fn on_trial() -> Bench {
        let mut bench = Bench::new("explicit", &load("web"));
        for version in [component(), newer()] {
            bench.put(FILE, &version);
            bench.scan().await;
        }
        bench
    }

    #[tokio::test]
    async fn a_new_version_that_keeps_failing_is_rolled_back_and_not_tried_again() {
        let mut bench = on_trial().await;
        bench.fail(4);
        assert!(bench.check_trials().is_empty());
        bench.fail(1);
        assert_eq!(
            bench.check_trials(),
            [format!("PluginRolledBack: {FAILED}; rolled back to version 0.1.0")]
        );
        assert_eq!(bench.state(), (Some("0.1.0".to_owned()), Some(FAILED.to_owned())));
        assert_eq!(bench.counted("rolled back"), 1);
        assert!(bench.check_trials().is_empty());
        assert!(bench.scan().await.is_empty(), "its file is settled");
        // The same version in another file.
        bench.put(FILE, &newer());
        let denied =
            "PluginRefused: this version failed on its first objects before; version 0.1.0 stays in use";
        assert_eq!(bench.scan().await, [denied]);
        // With other settings it may do better.
        bench.configure("explicit", &load("shop"));
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.2.0"]);
    }

    #[tokio::test]
    async fn a_version_that_has_passed_its_trial_is_not_rolled_back() {
        let mut bench = on_trial().await;
        (0..51).for_each(|_| bench.running().breaker.called(None));
        bench.check_trials();
        assert!(
            bench.manager().running["team-label"].previous.is_none(),
            "the old version is kept no longer"
        );
        bench.fail(9);
        assert!(bench.check_trials().is_empty());
        assert_eq!(bench.state().0.as_deref(), Some("0.2.0"));
    }

    #[tokio::test]
    async fn a_plugin_without_a_version_before_it_is_paused_and_reported_once() {
        let mut bench = Bench::new("explicit", &load("web"));
        bench.put(FILE, &component());
        bench.scan().await;
        let running = bench.running();
        bench.fail(10);
        assert_eq!(bench.check_trials(), ["PluginPaused: it keeps failing and is not called for a while"]);
        assert_eq!(bench.team(), "PluginPaused");
        assert!(bench.check_trials().is_empty());
        running.breaker.called(None);
        assert!(bench.check_trials().is_empty() && Arc::ptr_eq(&running, &bench.running()));
        assert!(!bench.manager().running["team-label"].is_paused);
    }
}
