//! Compares `plugins.folder` and the configuration with what is called, and loads what is new.

use std::collections::BTreeMap;

use tracing::warn;
use weft_core::causes::causes;

use super::{Manager, Refused, Running};
use crate::config::Grants;
use crate::config::grants::Entry;
use crate::plugin::candidates::{self, Candidate, Listed};
use crate::plugin::reload::{self, Attempt};

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
        let attempt = Attempt {
            candidate: candidate.clone(),
            grants: self.wanted.plugins.grants,
            running: self.running.get(&candidate.name).map(|running| running.generation.clone()),
            denied: self.denied.clone(),
            sandbox: self.sandbox.clone(),
            metrics: self.metrics.clone(),
            names: self.names.clone(),
        };
        let tried = reload::attempt(attempt).await.map_err(|error| causes(&error));
        let tried = tried.and_then(|tried| {
            let mut sources = self.sources();
            sources.loaded.insert(candidate.name.clone(), tried.generation.clone());
            self.registry.check(&sources).map(|()| tried).map_err(|conflict| conflict.to_string())
        });
        match tried {
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
