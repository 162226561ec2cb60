//! The plugins of a configuration, loaded as the syncer would load them, and why the others are not.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use weft_core::context::{Facts, Owner};
use weft_core::offline::Offline;

use crate::author::workbench::{Refusal, Workbench, surroundings};
use crate::config::Config;
use crate::config::grants::Entry;
use crate::plugin::candidates::{self, Candidate, Listed};
use crate::plugin::component::Loaded;
use crate::plugin::reload;

/// A configuration with what comes of its plugins.
pub(super) struct Configured {
    /// The configuration.
    pub(super) config: Config,
    /// Those that load are loaded here.
    pub(super) bench: Workbench,
    /// Why the others do not, by name.
    pub(super) refused: BTreeMap<String, String>,
}

impl Configured {
    /// Reads the configuration at `path` and loads its plugins, in the order of their names.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let config = Config::load(path)?;
        let bench = Workbench::new(config.plugins.cache.as_deref(), &config.mappings)?;
        let mut configured = Self { config, bench, refused: BTreeMap::new() };
        let plugins = &configured.config.plugins;
        let folder = plugins.folder.as_deref().unwrap_or_else(|| Path::new(""));
        let files = candidates::files(plugins)
            .with_context(|| format!("failed to read `plugins.folder` {}", folder.display()))?;
        for (name, listed) in candidates::list(plugins, files) {
            if let Err(why) = configured.add(listed) {
                configured.refused.insert(name, why);
            }
        }
        Ok(configured)
    }

    /// Loads a component with what the configuration grants it.
    ///
    /// # Errors
    /// Why it is not loaded.
    pub(super) fn take(&mut self, loaded: Loaded, entry: Entry) -> Result<(), Refusal> {
        let entry = reload::granted(&loaded, entry, self.config.plugins.grants);
        self.bench.take(loaded, entry).map(drop)
    }

    /// The entry of the plugin `name`, with the settings that the syncer would find beside its component.
    ///
    /// # Errors
    /// Why the settings cannot be read.
    pub(super) fn with_settings(&self, name: &str, entry: Entry) -> Result<Entry, String> {
        let plugins = &self.config.plugins;
        match &plugins.folder {
            Some(folder) => {
                candidates::with_settings(plugins, name, &folder.join(format!("{name}.wasm")), entry)
            }
            None => Ok(entry),
        }
    }

    fn add(&mut self, listed: Listed) -> Result<(), String> {
        match listed {
            Listed::Load(candidate) => self.try_add(&candidate).map_err(|error| format!("{error:#}")),
            Listed::Unreadable(_, why) | Listed::Missing(_, why) => Err(why),
            Listed::Disabled => Ok(()),
            Listed::Unlisted(file) => Err(format!(
                "it has no entry in `plugins.load`; `weft plugin check {}` prints one",
                file.display()
            )),
        }
    }

    fn try_add(&mut self, candidate: &Candidate) -> Result<()> {
        let grants = self.config.plugins.grants;
        let (loaded, entry) = reload::load(self.bench.sandbox(), candidate, grants, None)?;
        self.bench.take(loaded, entry)?;
        Ok(())
    }

    /// What both clusters would show, as far as the configuration says it; the rest is made up.
    pub(super) fn surroundings(&self) -> Result<Offline> {
        let made_up = surroundings()?;
        let owner =
            made_up.facts.owner.map(|owner| Owner { name: self.config.service().to_owned(), ..owner });
        let facts = Facts {
            owner,
            cluster_domain: self.config.cluster.domain.clone(),
            workload_service_account: self.config.workload_service_account(),
            ..made_up.facts
        };
        Ok(Offline::new(self.config.names()?, facts))
    }
}
