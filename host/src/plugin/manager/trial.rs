//! What becomes of plugins that keep failing: a new version is rolled back to the one before it, and others
//! are not called for a while.

use jiff::Timestamp;
use tracing::{info, warn};

use super::kept::Version;
use super::{Manager, Previous, Refused};
use crate::plugin::reload::Denied;
use crate::plugin::status::Paused;
use crate::registry::plugin_event::PluginEvent;

impl Manager {
    /// Rolls back a new version that keeps failing, and reports a plugin that is paused; returns whether
    /// anything was rolled back.
    pub(super) fn check_trials(&mut self) -> bool {
        let mut failed = Vec::new();
        let mut turned = Vec::new();
        let now = Timestamp::now();
        for (name, running) in &mut self.running {
            let breaker = &running.generation.breaker;
            if running.previous.is_some() && breaker.has_failed_its_trial() {
                failed.push(name.clone());
                continue;
            }
            if breaker.has_passed_its_trial() && running.previous.take().is_some() {
                let digest = running.generation.loaded.digest.clone();
                self.kept.keep(name, Version { digest, entry: running.entry.clone() }, None);
            }
            let pause = breaker.pause().map(|pause| Paused::of(&pause, now));
            // The number of failures grows with each pause that begins.
            let failures = |paused: &Option<Paused>| paused.as_ref().map(|paused| paused.failures);
            if failures(&pause) != failures(&running.paused) {
                running.paused.clone_from(&pause);
                turned.push((name.clone(), pause));
            }
        }
        for (name, paused) in &turned {
            self.report_pause(name, paused.as_ref());
        }
        if !turned.is_empty() {
            self.show();
        }
        for name in &failed {
            self.roll_back(name);
        }
        !failed.is_empty()
    }

    fn report_pause(&self, name: &str, paused: Option<&Paused>) {
        let Some(paused) = paused else {
            info!(plugin = name, "the plugin works again");
            return;
        };
        let Paused { failures, last_failure, next_try } = paused;
        warn!(plugin = name, failures, last_failure, next_try, "the plugin is paused: it keeps failing");
        self.publish_event(PluginEvent::warning(name, "PluginPaused", paused.to_string()));
    }

    fn roll_back(&mut self, name: &str) {
        let Some(running) = self.running.get_mut(name) else { return };
        let Some(previous) = running.previous.take() else { return };
        let Previous { generation: previous, entry: kept } = previous;
        let failed = std::mem::replace(&mut running.generation, previous.clone());
        let (signature, entry) = (running.signature, running.entry.clone());
        let failures = failed.breaker.failures();
        let why = format!("{} failed on its first objects: {failures}", failed.loaded.title());
        let denied = Denied { digest: failed.loaded.digest.clone(), entry: entry.clone(), failures };
        self.kept.deny(name, denied.clone());
        self.kept.keep(name, Version { digest: previous.loaded.digest.clone(), entry: kept }, None);
        self.denied.push(denied);
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

    use jiff::Timestamp;
    use serde_json::json;

    use super::super::testing::{Bench, load};
    use crate::plugin::testing::{MODULE, component, newer};

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
        let denied = "PluginRefused: this version failed on its first objects before: 5 of 5 calls, first with PluginTrapped; \
             version 0.1.0 stays in use";
        assert_eq!(bench.scan().await, [denied]);
        // With other settings it may do better.
        bench.configure("explicit", &load("shop"));
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.2.0"]);
    }

    #[tokio::test]
    async fn a_version_that_was_rolled_back_stays_so_at_the_next_start_with_the_one_before_it_in_its_place() {
        let mut bench = on_trial().await;
        bench.fail(5);
        bench.check_trials();
        let mut bench = bench.restarted("explicit", &load("web"));
        let denied = "PluginRefused: this version failed on its first objects before: 5 of 5 calls, first with PluginTrapped; \
                      version 0.1.0 stays in use";
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.1.0", denied]);
        assert_eq!(bench.team(), "web");
        let why = "this version failed on its first objects before: 5 of 5 calls, first with PluginTrapped";
        assert_eq!(bench.state(), (Some("0.1.0".to_owned()), Some(why.to_owned())));
        // With other settings it may do better, and has the old version to fall back on.
        let mut bench = bench.restarted("explicit", &load("shop"));
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.1.0", "PluginLoaded: version 0.2.0"]);
        bench.fail(5);
        let rolled_back = format!("PluginRolledBack: {FAILED}; rolled back to version 0.1.0");
        assert_eq!(bench.check_trials(), [rolled_back]);
        assert_eq!(bench.team(), "web", "with the settings that it worked with");
    }

    #[tokio::test]
    async fn a_trial_that_a_restart_cuts_short_begins_again() {
        let bench = on_trial().await;
        let mut bench = bench.restarted("explicit", &load("web"));
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.1.0", "PluginLoaded: version 0.2.0"]);
        bench.fail(5);
        let rolled_back = format!("PluginRolledBack: {FAILED}; rolled back to version 0.1.0");
        assert_eq!(bench.check_trials(), [rolled_back]);
        // One that has passed is what the next start falls back on.
        let mut bench = on_trial().await;
        (0..51).for_each(|_| bench.running().breaker.called(None));
        bench.check_trials();
        bench.put(FILE, MODULE);
        let mut bench = bench.restarted("explicit", &load("web"));
        let refused = "PluginRefused: it is a core module, not a component; `weft plugin build` makes a component of it; \
                       version 0.2.0 stays in use";
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.2.0", refused]);
    }

    #[tokio::test]
    async fn what_is_remembered_gives_a_plugin_no_more_than_its_entry_does_today() {
        let bench = on_trial().await;
        let narrower = json!({"team-label": {"kinds": ["v1/Secret"], "settings": {"team": "web"}}});
        let mut bench = bench.restarted("explicit", &narrower);
        let events = bench.scan().await;
        assert!(events.len() == 1 && events[0].contains("requests more than it is granted"), "{events:?}");
        assert_eq!(bench.state().0, None, "not even the version that worked with more");
        // One that was removed is forgotten.
        let mut bench = on_trial().await;
        bench.configure("explicit", &json!({}));
        bench.scan().await;
        let mut bench = bench.restarted("explicit", &load("web"));
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.2.0"]);
    }

    #[tokio::test]
    async fn a_file_that_is_remembered_and_damaged_is_not_loaded() {
        let bench = on_trial().await;
        bench.damage_versions();
        let mut bench = bench.restarted("explicit", &load("web"));
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
        let events = bench.check_trials();
        let expected =
            "PluginPaused: 10 calls in a row failed, the last with PluginTrapped; it is not called until 20";
        assert!(events.len() == 1 && events[0].starts_with(expected), "{events:?}");
        assert_eq!(bench.team(), "PluginPaused");
        let paused = bench.shown().unwrap().paused.unwrap();
        assert_eq!((paused.failures, paused.last_failure.as_str()), (10, "PluginTrapped"));
        let left = paused.next_try.parse::<Timestamp>().unwrap().duration_since(Timestamp::now());
        assert!(left.as_secs() <= 5, "{left:?}");
        let awaited = bench.awaited().unwrap();
        assert!(
            awaited.starts_with("objects wait for the plugin team-label: 10 calls in a row failed"),
            "{awaited}"
        );
        assert!(bench.check_trials().is_empty());
        running.breaker.called(None);
        assert!(bench.check_trials().is_empty() && Arc::ptr_eq(&running, &bench.running()));
        assert_eq!((bench.shown().unwrap().paused, bench.awaited()), (None, None));
    }
}
