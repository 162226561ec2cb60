//! The changes that a plugin goes through, each with its log line, its count and its event: loaded or
//! replaced, kept, refused, removed.

use std::sync::Arc;

use tracing::{info, warn};

use super::kept::Version;
use super::{Manager, Previous, Refused, Running};
use crate::plugin::candidates::Candidate;
use crate::plugin::generation::Generation;
use crate::plugin::reload::Tried;
use crate::registry::descriptor::Role;
use crate::registry::plugin_event::PluginEvent;

impl Manager {
    pub(super) fn is_running(&self, name: &str, generation: &Arc<Generation>) -> bool {
        self.running.get(name).is_some_and(|running| Arc::ptr_eq(&running.generation, generation))
    }

    /// The file was written again with what is running.
    pub(super) fn keep(&mut self, candidate: Candidate) {
        let Candidate { name, found, entry } = candidate;
        if let Some(running) = self.running.get_mut(&name) {
            (running.signature, running.entry) = (found.signature, entry);
        }
        if self.refused.remove(&name).is_some() {
            info!(plugin = name, "its file is again that of the version in use");
            self.show();
        }
    }

    /// Calls a new version from now on; the old one is kept until the new one has shown that it works.
    pub(super) fn replace(&mut self, candidate: Candidate, tried: &Tried) {
        let Candidate { name, found, entry } = candidate;
        let Tried { generation, changes } = tried;
        self.refused.remove(&name);
        let previous = self.running.remove(&name);
        let previous = previous.map(|Running { generation, entry, .. }| Previous { generation, entry });
        let version = Version { digest: generation.loaded.digest.clone(), entry: entry.clone() };
        match &previous {
            Some(previous) => {
                self.set_loaded(&previous.generation, false);
                self.kept.prepare(&name, &version.digest, &found.path);
            }
            None => self.kept.keep(&name, version, Some(&found.path)),
        }
        self.set_loaded(generation, true);
        self.metrics.reloaded(&name, "loaded");
        let title = generation.loaded.title();
        info!(plugin = name, "{title} is loaded{changes}");
        self.publish_event(PluginEvent::normal(&name, "PluginLoaded", format!("{title}{changes}")));
        let running = Running {
            signature: found.signature,
            entry,
            generation: generation.clone(),
            previous,
            paused: None,
            is_file_gone: false,
        };
        self.running.insert(name, running);
    }

    /// Reports why a file is not loaded, and which version stays in use.
    pub(super) fn refuse(&mut self, name: &str, refused: Refused) {
        let why = &refused.why;
        let in_use = match self.running.get(name) {
            Some(running) => format!("; {} stays in use", running.generation.loaded.title()),
            None => String::new(),
        };
        warn!(plugin = name, "the plugin is not loaded: {why}{in_use}");
        self.metrics.reloaded(name, "refused");
        self.publish_event(PluginEvent::warning(name, "PluginRefused", format!("{why}{in_use}")));
        self.refused.insert(name.to_owned(), refused);
    }

    /// Calls the plugin no more, and has the host objects of what it added deleted where the operator says so.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(running) = self.running.remove(name) else { return };
        self.kept.forget(name);
        let generation = running.generation;
        if generation.cleans_up() {
            let mappings = generation.loaded.descriptor.mappings.iter();
            let added = mappings.filter(|mapping| mapping.role == Role::Add);
            self.clean_up.extend(added.map(|mapping| mapping.resource.kind()));
        }
        self.set_loaded(&generation, false);
        self.metrics.reloaded(name, "removed");
        info!(plugin = name, "the plugin is removed");
        self.publish_event(PluginEvent::normal(
            name,
            "PluginRemoved",
            "its kinds have the rules that they had without it".into(),
        ));
    }

    /// Shows a version in the metrics as the one that is called, or as one that is not called any more.
    pub(super) fn set_loaded(&self, generation: &Generation, is_loaded: bool) {
        let loaded = &generation.loaded;
        let (version, digest) = (&loaded.descriptor.version, &loaded.digest);
        self.metrics.set_loaded(&generation.name, version, digest, is_loaded);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Bench, load};
    use super::*;
    use crate::plugin::testing::{MODULE, component};

    const FILE: &str = "team-label.wasm";
    const MODULE_REFUSED: &str =
        "it is a core module, not a component; `weft plugin build` makes a component of it";

    fn version(version: &str, problem: Option<&str>) -> (Option<String>, Option<String>) {
        (Some(version.to_owned()), problem.map(ToOwned::to_owned))
    }

    #[tokio::test]
    async fn a_broken_version_is_refused_once_and_the_old_one_stays_in_use() {
        let mut bench = Bench::new("explicit", &load("web"));
        bench.put(FILE, &component());
        bench.scan().await;
        bench.put(FILE, MODULE);
        let refused = format!("PluginRefused: {MODULE_REFUSED}; version 0.1.0 stays in use");
        assert_eq!(bench.scan().await, [refused.as_str()]);
        assert_eq!((bench.team().as_str(), bench.state()), ("web", version("0.1.0", Some(MODULE_REFUSED))));
        assert!(bench.scan().await.is_empty(), "one line says why, once");
        assert_eq!(bench.counted("refused"), 1);
        // Written again, with the same fault.
        bench.put(FILE, MODULE);
        assert_eq!(bench.scan().await.len(), 1);
        // And put right.
        let old = bench.running();
        bench.put(FILE, &component());
        assert!(bench.scan().await.is_empty(), "the version in use needs no event");
        assert_eq!(bench.state(), version("0.1.0", None));
        assert!(Arc::ptr_eq(&old, &bench.running()));
    }

    #[tokio::test]
    async fn the_kinds_that_a_plugin_only_mutates_are_not_cleaned_up_when_it_is_removed() {
        let load =
            json!({"team-label": {"kinds": ["v1/Pod"], "settings": {"team": "web"}, "onRemoval": "delete"}});
        let mut bench = Bench::new("explicit", &load);
        bench.put(FILE, &component());
        bench.scan().await;
        assert!(bench.running().cleans_up());
        bench.configure("explicit", &json!({}));
        assert_eq!(bench.scan().await.len(), 1);
        assert!(bench.rules.borrow().clean_up.is_empty());
    }
}
