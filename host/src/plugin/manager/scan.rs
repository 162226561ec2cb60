//! Compares `plugins.folder` and the configuration with what is called, and loads what is new.

use std::collections::BTreeMap;

use tracing::{info, warn};
use weft_core::causes::causes;

use super::{Manager, Refused, Running};
use crate::config::Grants;
use crate::config::grants::Entry;
use crate::plugin::candidates::{self, Candidate, Listed};
use crate::plugin::reload::{self, Attempt, Denied, Tried};

impl Manager {
    /// Loads, replaces and removes plugins as the folder and the configuration say; returns whether the rules
    /// change with it.
    pub(super) async fn scan(&mut self) -> bool {
        let plugins = &self.wanted.plugins;
        // The folder need not be there yet.
        let files = candidates::files(plugins).unwrap_or_default();
        let listed = candidates::list(plugins, files);
        let mut is_changed = self.drop_unwanted(&listed);
        for (name, listed) in listed {
            if let Listed::Load(candidate) | Listed::Unreadable(candidate, _) = &listed {
                is_changed |= self.recall(candidate).await;
            }
            is_changed |= match listed {
                Listed::Load(candidate) if self.is_settled(&candidate) => false,
                Listed::Load(candidate) => self.try_candidate(candidate).await,
                Listed::Unreadable(candidate, why) => self.refuse_once(candidate, why),
                Listed::Missing(entry, why) => self.refuse_missing(&name, entry, why),
                Listed::Disabled | Listed::Unlisted(_) => false,
            };
        }
        is_changed
    }

    /// Whether this file with this entry has been tried already.
    fn is_settled(&self, candidate: &Candidate) -> bool {
        let Candidate { name, found, entry } = candidate;
        let is_running = |running: &Running| running.signature == found.signature && running.entry == *entry;
        let is_refused =
            |refused: &Refused| refused.signature == Some(found.signature) && refused.entry == *entry;
        match self.refused.get(name) {
            Some(refused) => is_refused(refused),
            None => self.running.get(name).is_some_and(is_running),
        }
    }

    async fn try_candidate(&mut self, candidate: Candidate) -> bool {
        // A compiler takes its time: whoever waits sees for what.
        info!(plugin = candidate.name, "loading the plugin");
        match self.attempt(&candidate, self.denied.clone()).await {
            Ok(tried) if self.is_running(&candidate.name, &tried.generation) => {
                self.keep(candidate);
                false
            }
            Ok(tried) => {
                self.replace(candidate, &tried);
                true
            }
            Err(why) => self.refuse_once(candidate, why),
        }
    }

    async fn attempt(&self, candidate: &Candidate, denied: Vec<Denied>) -> Result<Tried, String> {
        let attempt = Attempt {
            candidate: candidate.clone(),
            grants: self.wanted.plugins.grants,
            running: self.running.get(&candidate.name).map(|running| running.generation.clone()),
            denied,
            sandbox: self.sandbox.clone(),
            metrics: self.metrics.clone(),
            names: self.names.clone(),
        };
        let tried = reload::attempt(attempt).await.map_err(|error| causes(&error))?;
        let mut sources = self.sources();
        sources.loaded.insert(candidate.name.clone(), tried.generation.clone());
        self.registry.check(&sources).map(|()| tried).map_err(|conflict| conflict.to_string())
    }

    /// Loads the version of a plugin that worked last, in an earlier run, where none is loaded: the file of the candidate may
    /// be of one that was rolled back, or be damaged. Returns whether it did.
    async fn recall(&mut self, candidate: &Candidate) -> bool {
        let name = &candidate.name;
        if self.running.contains_key(name) || self.refused.contains_key(name) {
            return false;
        }
        self.denied.extend(self.kept.denied(name));
        let Some(good) = self.kept.good(name, &candidate.entry) else { return false };
        match self.attempt(&good, Vec::new()).await {
            Ok(tried) => {
                self.replace(good, &tried);
                true
            }
            Err(why) => {
                warn!(plugin = name, "the version that worked last cannot be loaded again: {why}");
                false
            }
        }
    }

    /// Refuses a file, unless it was refused for the same reason; returns whether the rules change with it.
    fn refuse_once(&mut self, candidate: Candidate, why: String) -> bool {
        let Candidate { name, found, entry } = candidate;
        let signature = Some(found.signature);
        let is_known = |refused: &Refused| refused.signature == signature && refused.why == why;
        if self.refused.get(&name).is_some_and(is_known) {
            return false;
        }
        self.refuse(&name, Refused { signature, entry, why });
        self.show();
        !self.running.contains_key(&name)
    }

    /// Refuses a plugin that has no file, unless something is known of it; returns whether it does.
    fn refuse_missing(&mut self, name: &str, entry: Entry, why: String) -> bool {
        if self.running.contains_key(name) || self.refused.contains_key(name) {
            return false;
        }
        self.refuse(name, Refused { signature: None, entry, why });
        true
    }

    /// Removes the plugins that are not wanted any more; returns whether there were any.
    fn drop_unwanted(&mut self, listed: &BTreeMap<String, Listed>) -> bool {
        self.refused.retain(|name, _| listed.contains_key(name));
        let mut gone = Vec::new();
        for (name, running) in &mut self.running {
            let is_file_gone = match listed.get(name) {
                Some(Listed::Load(_) | Listed::Unreadable(..)) => false,
                Some(Listed::Missing(..)) if self.wanted.plugins.grants == Grants::Explicit => true,
                _ => {
                    gone.push(name.clone());
                    continue;
                }
            };
            if is_file_gone && !running.is_file_gone {
                warn!(
                    plugin = name,
                    "its file is gone; the plugin stays loaded. Remove its entry from `plugins.load` to stop it"
                );
            }
            running.is_file_gone = is_file_gone;
        }
        for name in &gone {
            self.remove(name);
        }
        !gone.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Bench, load};
    use crate::plugin::testing::{component, newer, patched};

    const FILE: &str = "team-label.wasm";

    fn version(version: &str, problem: Option<&str>) -> (Option<String>, Option<String>) {
        (Some(version.to_owned()), problem.map(ToOwned::to_owned))
    }

    #[tokio::test]
    async fn a_component_with_an_entry_is_loaded_applied_and_shown() {
        let mut bench = Bench::new("explicit", &load("web"));
        bench.put(FILE, &component());
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.1.0"]);
        assert_eq!(bench.team(), "web");
        let shown = bench.shown().unwrap();
        assert_eq!(
            (shown.name.as_str(), &*shown.mappings),
            ("team-label", &["v1/Pod mutate(200)".to_owned()][..])
        );
        assert_eq!(shown.digest, Some(weft_core::digest::of_bytes(&component())));
        assert_eq!((bench.state(), bench.counted("loaded")), (version("0.1.0", None), 1));
        assert!(bench.scan().await.is_empty(), "nothing has changed");
    }

    #[tokio::test]
    async fn a_component_without_an_entry_is_loaded_in_development_alone() {
        for (grants, events) in [("explicit", vec![]), ("requested", vec!["PluginLoaded: version 0.1.0"])] {
            let mut bench = Bench::new(grants, &json!({}));
            bench.put(FILE, &component());
            bench.put("team-label.settings.yaml", b"team: web");
            assert_eq!(bench.scan().await, events, "{grants}");
        }
    }

    #[tokio::test]
    async fn a_new_version_replaces_the_old_one() {
        let mut bench = Bench::new("explicit", &load("web"));
        bench.put(FILE, &component());
        bench.scan().await;
        bench.put(FILE, &newer());
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.2.0"]);
        assert_eq!((bench.state(), bench.counted("loaded")), (version("0.2.0", None), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_may_still_be_being_written_is_tried_a_few_times() {
        let mut bench = Bench::new("explicit", &load("web"));
        bench.put(FILE, &component()[..20_000]);
        let start = tokio::time::Instant::now();
        let events = bench.scan().await;
        assert!(events.len() == 1 && events[0].contains("cannot be compiled"), "{events:?}");
        assert!(start.elapsed() >= std::time::Duration::from_millis(1400), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn new_settings_replace_the_version_and_unusable_ones_do_not() {
        let mut bench = Bench::new("explicit", &load("web"));
        bench.put(FILE, &component());
        bench.scan().await;
        bench.configure("explicit", &load("shop"));
        assert_eq!(bench.scan().await, ["PluginLoaded: version 0.1.0"]);
        assert_eq!(bench.team(), "shop");
        bench.configure(
            "explicit",
            &json!({"team-label": {"kinds": ["v1/Pod"], "settings": {"taem": "web"}}}),
        );
        let events = bench.scan().await;
        assert!(events.len() == 1 && events[0].contains("its settings cannot be used"), "{events:?}");
        assert_eq!(bench.team(), "shop");
    }

    #[tokio::test]
    async fn settings_beside_the_component_are_followed_in_development() {
        let mut bench = Bench::new("requested", &json!({}));
        bench.put(FILE, &component());
        bench.put("team-label.settings.yaml", b"team: web");
        bench.scan().await;
        assert_eq!(bench.team(), "web");
        bench.put("team-label.settings.yaml", b"[web]");
        let events = bench.scan().await;
        assert!(events.len() == 1 && events[0].contains("team-label.settings.yaml"), "{events:?}");
        assert!(bench.scan().await.is_empty(), "one line says why, once");
        bench.put("team-label.settings.yaml", b"team: shop");
        bench.scan().await;
        assert_eq!((bench.team().as_str(), bench.state()), ("shop", version("0.1.0", None)));
    }

    #[tokio::test]
    async fn a_plugin_whose_file_is_gone_stays_as_long_as_it_has_an_entry() {
        let mut bench = Bench::new("explicit", &load("web"));
        bench.put(FILE, &component());
        bench.scan().await;
        bench.delete(FILE);
        assert!(bench.scan().await.is_empty());
        assert_eq!((bench.team().as_str(), bench.state()), ("web", version("0.1.0", None)));
        bench.configure("explicit", &json!({}));
        assert_eq!(bench.scan().await, ["PluginRemoved: its kinds have the rules that they had without it"]);
        assert_eq!((bench.team().as_str(), bench.state()), ("no team", (None, None)));
        assert_eq!(bench.counted("removed"), 1);
    }

    #[tokio::test]
    async fn in_development_a_plugin_goes_with_its_file() {
        let mut bench = Bench::new("requested", &load("web"));
        bench.put(FILE, &component());
        bench.scan().await;
        bench.delete(FILE);
        let events = bench.scan().await;
        assert!(events[0].starts_with("PluginRemoved"), "{events:?}");
        assert_eq!(bench.team(), "no team", "nothing waits for it");
    }

    #[tokio::test]
    async fn a_plugin_that_is_disabled_is_removed_although_its_file_is_there() {
        let mut bench = Bench::new("explicit", &load("web"));
        bench.put(FILE, &component());
        bench.scan().await;
        bench.configure("explicit", &json!({"team-label": {"enabled": false}}));
        assert!(bench.scan().await[0].starts_with("PluginRemoved"));
        assert_eq!(bench.shown(), None);
    }

    #[tokio::test]
    async fn a_plugin_without_a_file_is_reported_once_and_its_failure_policy_applies() {
        for (policy, team) in [("hold", "PluginNotLoaded"), ("core", "no team")] {
            let load = json!({"team-label": {"kinds": ["v1/Pod"], "onFailure": policy}});
            let mut bench = Bench::new("explicit", &load);
            bench.put("team-lable.wasm", &component());
            let why = "there is no file team-label.wasm in `plugins.folder`; is team-lable.wasm meant?";
            assert_eq!(bench.scan().await, [format!("PluginRefused: {why}")]);
            assert_eq!(
                (bench.team().as_str(), bench.state()),
                (team, (None, Some(why.to_owned()))),
                "{policy}"
            );
            assert!(bench.scan().await.is_empty());
            bench.configure("explicit", &json!({}));
            bench.scan().await;
            bench.manager().publish();
            assert_eq!((bench.team().as_str(), bench.shown()), ("no team", None));
        }
    }

    #[tokio::test]
    async fn a_component_that_conflicts_with_other_rules_is_refused() {
        let mut bench = Bench::new("requested", &json!({}));
        bench.put("team-label.settings.yaml", b"team: web");
        bench.put(FILE, &component());
        bench.scan().await;
        bench.put(FILE, &patched("team.v1Pod", "team.v1Cat"));
        let refused = "PluginRefused: the plugin team-label wants to mutate(200) v1/Cat, which nobody maps: let it add the kind; version 0.1.0 stays in use";
        assert_eq!(bench.scan().await, [refused]);
        assert_eq!(bench.team(), "web");
    }

    #[tokio::test]
    async fn a_component_that_requests_more_than_it_is_granted_is_refused() {
        let mut bench = Bench::new("explicit", &json!({"team-label": {"kinds": ["v1/Secret"]}}));
        bench.put(FILE, &component());
        let events = bench.scan().await;
        assert!(
            events[0].contains("it requests more than it is granted:   map v1/Pod (mutate(200))"),
            "{events:?}"
        );
        assert_eq!(bench.shown().unwrap().version, None);
    }
}
