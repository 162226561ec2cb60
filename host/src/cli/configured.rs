//! The plugins of a configuration, loaded as the syncer would load them, and why the others are not.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use weft_core::context::{Facts, Owner};
use weft_core::offline::Offline;

use crate::author::workbench::{Refusal, Workbench, surroundings};
use crate::cli::project;
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
        let bench = project::workbench_with(config.plugins.cache.as_deref(), &config.mappings)?;
        let mut configured = Self { config, bench, refused: BTreeMap::new() };
        let plugins = &configured.config.plugins;
        let folder = plugins.folder.as_deref().unwrap_or_else(|| Path::new(""));
        let files = candidates::files(plugins).with_context(|| {
            // A relative path says little without the folder that it starts from.
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            format!("failed to read `plugins.folder` {}", folder.display())
        })?;
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
            made_up.facts.owner.map(|owner| Owner { name: self.config.cluster.name.clone(), ..owner });
        let facts = Facts {
            owner,
            cluster_domain: self.config.cluster.domain.clone(),
            workload_service_account: self.config.workload_service_account(),
            hosts_file_image: self.config.pods.hosts_file.used_image().map(str::to_owned),
            policy: self.config.policy(),
            ..made_up.facts
        };
        Ok(Offline::new(self.config.names()?, facts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    use crate::plugin::testing::{MODULE, component, team};

    /// What comes of a configuration with these grants, this `plugins.load` and these files.
    fn configured(grants: &str, load: &Value, files: &[(&str, &[u8])]) -> Configured {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let plugins = json!({"folder": folder.path(), "grants": grants, "load": load});
        let config = json!({"cluster": {"name": "a", "namespace": "b"}, "plugins": plugins});
        let path = folder.path().join("weft.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        Configured::load(&path).unwrap()
    }

    fn settings(configured: &Configured) -> Vec<Value> {
        configured.bench.plugins().map(|plugin| Value::Object(plugin.entry.settings.clone())).collect()
    }

    #[test]
    fn settings_beside_a_component_are_used_as_the_syncer_uses_them() {
        let component = component();
        let files: [(&str, &[u8]); 2] =
            [("team-label.wasm", &component), ("team-label.settings.yaml", b"team: web")];
        let loaded = configured("requested", &json!({}), &files);
        assert_eq!((settings(&loaded), loaded.refused.len()), (vec![json!({"team": "web"})], 0));
        let broken: [(&str, &[u8]); 2] =
            [("team-label.wasm", &component), ("team-label.settings.yaml", b"[web]")];
        let refused = configured("requested", &json!({}), &broken).refused;
        assert!(refused["team-label"].contains("team-label.settings.yaml"), "{refused:?}");
    }

    #[test]
    fn a_component_that_is_checked_has_the_settings_of_its_name_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.settings.yaml"), "team: web").unwrap();
        let path = folder.path().join("weft.yaml");
        let plugins = json!({"folder": folder.path(), "grants": "requested", "load": {"b": {}}});
        let config = json!({"cluster": {"name": "a", "namespace": "b"}, "plugins": plugins});
        std::fs::write(&path, config.to_string()).unwrap();
        let configured = Configured::load(&path).unwrap();
        let team = |name: &str| {
            let entry = configured.with_settings(name, Entry::default()).unwrap();
            entry.settings.get("team").cloned()
        };
        assert_eq!(["a", "b"].map(team), [Some(json!("web")), None]);
    }

    #[test]
    fn what_is_not_loaded_is_reported_with_the_reason() {
        let load = json!({"core": {}, "gone": {}, "off": {"enabled": false}});
        let files: [(&str, &[u8]); 3] =
            [("core.wasm", MODULE), ("off.wasm", MODULE), ("unlisted.wasm", MODULE)];
        let refused = configured("explicit", &load, &files).refused;
        assert_eq!(refused.keys().collect::<Vec<_>>(), ["core", "gone", "unlisted"]);
        assert!(refused["core"].contains("core module"), "{refused:?}");
        assert_eq!(refused["gone"], "there is no file gone.wasm in `plugins.folder`");
        assert!(refused["unlisted"].starts_with("it has no entry in `plugins.load`"), "{refused:?}");
    }

    #[test]
    fn a_component_under_another_name_is_refused_although_its_entry_grants_all() {
        let load = json!({"other": team("web")});
        let refused = configured("explicit", &load, &[("other.wasm", &component())]).refused;
        assert_eq!(
            refused["other"],
            "its descriptor is named \"team-label\"; the file of that plugin is team-label.wasm"
        );
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weft.yaml");
        std::fs::write(&path, "cluster: {name: a, namespace: b}\nplugins: {folder: /no/such/folder}")
            .unwrap();
        let error = format!("{:#}", Configured::load(&path).err().unwrap());
        assert!(error.contains("failed to read `plugins.folder` /no/such/folder"), "{error}");
    }
}
