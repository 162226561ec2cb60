//! The plugins of a configuration, loaded as the syncer would load them, with what is wrong with the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use weft_core::context::{Facts, Owner};
use weft_core::offline::Offline;

use crate::author::workbench::{Refusal, Workbench, surroundings};
use crate::config::grants::Entry;
use crate::config::{Config, Grants, Plugins};
use crate::plugin::component::Loaded;

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
        let mut files = files(&configured.config.plugins)?;
        for (name, entry) in configured.config.plugins.load.clone() {
            let file = files.remove(&name);
            if entry.enabled {
                configured.add(&name, file.as_deref(), entry);
            }
        }
        for (name, file) in files {
            configured.add_unlisted(&name, &file);
        }
        Ok(configured)
    }

    /// Takes a component in with what the configuration grants it.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(super) fn take(&mut self, loaded: Loaded, entry: Entry) -> Result<(), Refusal> {
        let is_requested = self.config.plugins.grants == Grants::Requested;
        let entry = if is_requested { loaded.descriptor.grant_unless_explicit(entry) } else { entry };
        self.bench.take(loaded, entry).map(drop)
    }

    fn add(&mut self, name: &str, file: Option<&Path>, entry: Entry) {
        let Some(file) = file else {
            self.refused.insert(name.to_owned(), format!("there is no {name}.wasm in `plugins.folder`"));
            return;
        };
        if let Err(error) = self.try_add(name, file, entry) {
            self.refused.insert(name.to_owned(), format!("{error:#}"));
        }
    }

    fn try_add(&mut self, name: &str, file: &Path, entry: Entry) -> Result<()> {
        let loaded = self.bench.read(file, entry.wasi)?;
        anyhow::ensure!(
            loaded.descriptor.name == name,
            "it calls itself {:?}; the file of that plugin is {}.wasm",
            loaded.descriptor.name,
            loaded.descriptor.name
        );
        self.take(loaded, entry)?;
        Ok(())
    }

    /// A component that the operator says nothing of.
    fn add_unlisted(&mut self, name: &str, file: &Path) {
        if let Some(entry) = self.config.plugins.entry(name) {
            self.add(name, Some(file), entry);
            return;
        }
        let why =
            format!("it has no entry in `plugins.load`; `weft plugin check {}` prints one", file.display());
        self.refused.insert(name.to_owned(), why);
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

/// The components in the folder, by name.
fn files(plugins: &Plugins) -> Result<BTreeMap<String, PathBuf>> {
    let Some(folder) = &plugins.folder else { return Ok(BTreeMap::new()) };
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("failed to read `plugins.folder` {}", folder.display()))?;
    let mut files = BTreeMap::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_some_and(|extension| extension == "wasm") && !name.starts_with('.') {
            files.insert(name, path);
        }
    }
    Ok(files)
}
