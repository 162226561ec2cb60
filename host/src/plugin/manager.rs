//! Keeps the plugins that are called in step with a folder and with the configuration.
//!
//! A new version is read, checked, compiled, described, given its settings and tried on the calls of late
//! before it takes the place of the old one, in one step. Whatever goes wrong, the old one goes on, and one
//! line says why.

mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use weft_core::names::Names;
use weft_core::object::Kind;

use crate::config::grants::Entry;
use crate::config::{DeclaredMapping, Grants, Plugins, nearest};
use crate::folder::Watcher;
use crate::plugin::files::{self, Found, Signature};
use crate::plugin::generation::Generation;
use crate::plugin::metrics::Metrics;
use crate::plugin::reload::{self, Candidate, Denied, Tried};
use crate::plugin::sandbox::Sandbox;
use crate::plugin::status::{Shown, Status};
use crate::registry::descriptor::Role;
use crate::registry::plugin_event::PluginEvent;
use crate::registry::{Missing, Plugin, Registry, Rules, Sources};

/// How often it is looked whether a plugin keeps failing.
const WATCH: Duration = Duration::from_millis(500);

/// What the configuration says of rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// `plugins`.
    pub plugins: Plugins,
    /// `mappings`.
    pub declared: Vec<DeclaredMapping>,
}

impl Wanted {
    /// What the operator says of a plugin; none if it is not to be loaded.
    fn entry(&self, name: &str) -> Option<Entry> {
        self.plugins.entry(name).filter(|entry| entry.enabled)
    }
}

/// Keeps plugins in step.
pub struct Manager {
    wanted: Arc<Wanted>,
    sandbox: Arc<Sandbox>,
    names: Names,
    metrics: Arc<Metrics>,
    registry: Registry,
    running: BTreeMap<String, Running>,
    refused: BTreeMap<String, Refused>,
    /// What failed its trial: not tried again.
    denied: Vec<Denied>,
    clean_up: BTreeSet<Kind>,
    rules: watch::Sender<Arc<Rules>>,
    events: mpsc::Sender<PluginEvent>,
    status: Arc<Status>,
}

/// A plugin that is called.
struct Running {
    signature: Signature,
    /// What the operator says of it: what it asks for is not in it.
    entry: Entry,
    generation: Arc<Generation>,
    /// The version before, until this one has shown that it works.
    previous: Option<Arc<Generation>>,
    is_paused: bool,
    is_file_gone: bool,
}

/// A file that is not called.
struct Refused {
    signature: Option<Signature>,
    entry: Entry,
    why: String,
}

/// What a manager works with.
pub struct Parts {
    /// What is wanted at the start.
    pub wanted: Arc<Wanted>,
    /// Runs the components.
    pub sandbox: Arc<Sandbox>,
    /// How names are made.
    pub names: Names,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// Puts rules together.
    pub registry: Registry,
    /// Receives what happens; when nobody does, it is only logged.
    pub events: mpsc::Sender<PluginEvent>,
    /// Shows what is loaded.
    pub status: Arc<Status>,
}

impl Manager {
    /// A manager, and the rules as they change. Nothing is loaded before [`Self::load`].
    pub fn new(parts: Parts) -> (Self, watch::Receiver<Arc<Rules>>) {
        let Parts { wanted, sandbox, names, metrics, registry, events, status } = parts;
        let (rules, receiver) = watch::channel(Arc::default());
        let manager = Self {
            wanted,
            sandbox,
            names,
            metrics,
            registry,
            running: BTreeMap::new(),
            refused: BTreeMap::new(),
            denied: Vec::new(),
            clean_up: BTreeSet::new(),
            rules,
            events,
            status,
        };
        (manager, receiver)
    }

    /// Loads what there is, before anything is mapped.
    pub async fn load(&mut self) {
        self.scan().await;
        self.publish();
    }

    /// Follows the folder and the configuration until it is dropped.
    pub async fn run(mut self, mut wanted: watch::Receiver<Arc<Wanted>>) {
        let mut watcher = self.watcher();
        let mut watch = tokio::time::interval(WATCH);
        let mut is_configured = true;
        loop {
            let is_changed = tokio::select! {
                () = changed(watcher.as_ref()) => self.scan().await,
                changed = wanted.changed(), if is_configured => {
                    is_configured = changed.is_ok();
                    let old = std::mem::replace(&mut self.wanted, wanted.borrow_and_update().clone());
                    if self.wanted.plugins.folder != old.plugins.folder {
                        watcher = self.watcher();
                    }
                    tell_of_removed(&old, &self.wanted);
                    self.scan().await;
                    true
                }
                _ = watch.tick() => self.watch_failures(),
            };
            if is_changed {
                self.publish();
            }
        }
    }

    fn watcher(&self) -> Option<Watcher> {
        self.wanted.plugins.folder.as_deref().map(Watcher::new)
    }

    /// Compares the folder with what is called; gives whether something has changed.
    async fn scan(&mut self) -> bool {
        let files = match &self.wanted.plugins.folder {
            Some(folder) => files::list(folder),
            None => BTreeMap::new(),
        };
        let mut is_changed = self.drop_unwanted(&files);
        for (name, found) in &files {
            let Some(entry) = self.wanted.entry(name) else { continue };
            is_changed |= match self.with_settings(name, found, entry.clone()) {
                Ok(entry) if self.is_settled(name, found.signature, &entry) => false,
                Ok(entry) => self.try_file(name, found, entry).await,
                Err(why) => self.refuse_once(name, found.signature, entry, why),
            };
        }
        is_changed | self.note_missing(&files)
    }

    /// The entry with the settings that lie beside the component, where nobody else says anything of it.
    fn with_settings(&self, name: &str, found: &Found, mut entry: Entry) -> Result<Entry, String> {
        if self.is_development() && !self.wanted.plugins.load.contains_key(name) {
            entry.settings = files::settings(&found.path)?;
        }
        Ok(entry)
    }

    /// Whether this file with this entry has been tried already.
    fn is_settled(&self, name: &str, signature: Signature, entry: &Entry) -> bool {
        let is_running = self
            .running
            .get(name)
            .is_some_and(|running| running.signature == signature && running.entry == *entry);
        let is_refused = self
            .refused
            .get(name)
            .is_some_and(|refused| refused.signature == Some(signature) && refused.entry == *entry);
        is_refused || (is_running && !self.refused.contains_key(name))
    }

    /// Whether plugins get what they ask for.
    fn is_development(&self) -> bool {
        self.wanted.plugins.grants == Grants::Requested
    }

    async fn try_file(&mut self, name: &str, found: &Found, entry: Entry) -> bool {
        let signature = found.signature;
        let running = self.running.get(name).map(|running| running.generation.clone());
        let candidate = Candidate {
            name: name.to_owned(),
            path: found.path.clone(),
            entry: entry.clone(),
            is_development: self.is_development(),
            running,
            denied: self.denied.clone(),
            sandbox: self.sandbox.clone(),
            metrics: self.metrics.clone(),
            names: self.names.clone(),
        };
        let tried = reload::try_candidate(candidate).await.and_then(|tried| {
            let mut sources = self.sources();
            sources.loaded.insert(name.to_owned(), tried.generation.clone());
            self.registry.check(&sources).map(|()| tried).map_err(|conflict| conflict.to_string())
        });
        match tried {
            Ok(tried) if self.is_running(name, &tried.generation) => {
                self.keep(name, signature, entry);
                false
            }
            Ok(tried) => {
                self.take_in(name, signature, entry, &tried);
                true
            }
            Err(why) => self.refuse_once(name, signature, entry, why),
        }
    }

    /// Refuses a file, unless it is for the same reason as before; gives whether the rules change with it.
    fn refuse_once(&mut self, name: &str, signature: Signature, entry: Entry, why: String) -> bool {
        let is_known = |refused: &Refused| refused.signature == Some(signature) && refused.why == why;
        if self.refused.get(name).is_some_and(is_known) {
            return false;
        }
        self.refuse(name, Some(signature), entry, why);
        self.show();
        !self.running.contains_key(name)
    }

    fn is_running(&self, name: &str, generation: &Arc<Generation>) -> bool {
        self.running.get(name).is_some_and(|running| Arc::ptr_eq(&running.generation, generation))
    }

    /// The file was written again with what is running.
    fn keep(&mut self, name: &str, signature: Signature, entry: Entry) {
        if let Some(running) = self.running.get_mut(name) {
            (running.signature, running.entry) = (signature, entry);
        }
        if self.refused.remove(name).is_some() {
            info!(plugin = name, "its file is the version again that goes on");
            self.show();
        }
    }

    fn take_in(&mut self, name: &str, signature: Signature, entry: Entry, tried: &Tried) {
        let Tried { generation, changes } = tried;
        let loaded = &generation.loaded;
        let (version, digest) = (&loaded.descriptor.version, &loaded.digest);
        self.refused.remove(name);
        let previous = self.running.remove(name).map(|running| running.generation);
        if let Some(previous) = &previous {
            let old = &previous.loaded;
            self.metrics.set_loaded(name, &old.descriptor.version, &old.digest, false);
        }
        self.metrics.set_loaded(name, version, digest, true);
        self.metrics.reloaded(name, "loaded");
        info!(plugin = name, "{} is loaded{changes}", loaded.title());
        self.publish_event(PluginEvent::normal(name, "PluginLoaded", format!("{}{changes}", loaded.title())));
        let running = Running {
            signature,
            entry,
            generation: generation.clone(),
            previous,
            is_paused: false,
            is_file_gone: false,
        };
        self.running.insert(name.to_owned(), running);
    }

    fn refuse(&mut self, name: &str, signature: Option<Signature>, entry: Entry, why: String) {
        let goes_on = match self.running.get(name) {
            Some(running) => format!("; {} goes on", running.generation.loaded.title()),
            None => String::new(),
        };
        warn!(plugin = name, "the plugin is not loaded: {why}{goes_on}");
        self.metrics.reloaded(name, "refused");
        self.publish_event(PluginEvent::warning(name, "PluginRefused", format!("{why}{goes_on}")));
        self.refused.insert(name.to_owned(), Refused { signature, entry, why });
    }

    /// Lets go of plugins that nobody wants any more; gives whether there were any.
    fn drop_unwanted(&mut self, files: &BTreeMap<String, Found>) -> bool {
        self.refused
            .retain(|name, _| files.contains_key(name) || self.wanted.plugins.load.contains_key(name));
        let mut gone = Vec::new();
        for (name, running) in &mut self.running {
            let is_listed = self.wanted.plugins.load.get(name).is_some_and(|entry| entry.enabled);
            let is_there = files.contains_key(name);
            let is_kept = is_listed && self.wanted.plugins.grants == Grants::Explicit;
            if self.wanted.entry(name).is_none() || (!is_there && !is_kept) {
                gone.push(name.clone());
            } else if is_there == running.is_file_gone {
                running.is_file_gone = !is_there;
                if !is_there {
                    warn!(
                        plugin = name,
                        "its file is gone; it goes on. Remove its entry from `plugins.load` to stop it"
                    );
                }
            }
        }
        for name in &gone {
            self.remove(name);
        }
        !gone.is_empty()
    }

    fn remove(&mut self, name: &str) {
        let Some(running) = self.running.remove(name) else { return };
        let generation = running.generation;
        let loaded = &generation.loaded;
        if generation.cleans_up() {
            let added = loaded.descriptor.mappings.iter().filter(|mapping| mapping.role == Role::Add);
            self.clean_up.extend(added.map(|mapping| mapping.resource.kind()));
        }
        self.metrics.set_loaded(name, &loaded.descriptor.version, &loaded.digest, false);
        self.metrics.reloaded(name, "removed");
        info!(plugin = name, "the plugin is removed");
        self.publish_event(PluginEvent::normal(
            name,
            "PluginRemoved",
            "its kinds have the rules that they had without it".into(),
        ));
    }

    /// Takes note of plugins that should be there and have no file; gives whether there are new ones.
    fn note_missing(&mut self, files: &BTreeMap<String, Found>) -> bool {
        let wanted = self.wanted.clone();
        let load = wanted.plugins.load.iter().filter(|(_, entry)| entry.enabled);
        let mut is_changed = false;
        for (name, entry) in load.filter(|(name, _)| !files.contains_key(*name)) {
            if !self.running.contains_key(name) && !self.refused.contains_key(name) {
                let why = no_file(name, files.keys());
                self.refuse(name, None, entry.clone(), why);
                is_changed = true;
            }
        }
        is_changed
    }

    fn sources(&self) -> Sources {
        let plugin = |running: &Running| running.generation.clone() as Arc<dyn Plugin>;
        let loaded = self.running.iter().map(|(name, running)| (name.clone(), plugin(running)));
        // Where plugins come and go with their files, nothing waits for one without a file.
        let is_awaited = |refused: &Refused| refused.signature.is_some() || !self.is_development();
        let missing = self
            .refused
            .iter()
            .filter(|(name, refused)| !self.running.contains_key(*name) && is_awaited(refused));
        let missing = missing.map(|(name, refused)| Missing {
            name: name.clone(),
            kinds: refused.entry.kinds.clone(),
            on_failure: refused.entry.on_failure.into(),
        });
        Sources {
            declared: self.wanted.declared.iter().map(DeclaredMapping::declaration).collect(),
            loaded: loaded.collect(),
            missing: missing.collect(),
        }
    }

    /// Makes what is there the rules of the syncer.
    fn publish(&mut self) {
        match self.registry.compose(&self.sources()) {
            Ok(mappers) => {
                let clean_up = self.clean_up.clone();
                self.rules.send_replace(Arc::new(Rules { mappers, clean_up }));
            }
            Err(conflict) => {
                warn!("the rules do not fit together and stay as they were: {conflict}");
                self.publish_event(PluginEvent::warning("", "RulesRefused", conflict.to_string()));
            }
        }
        self.show();
    }

    /// Shows people what is there.
    fn show(&self) {
        let running = self.running.iter().map(|(name, running)| {
            let refused = self.refused.get(name).map(|refused| refused.why.clone());
            Shown::running(&running.generation, refused)
        });
        let refused = self.refused.iter().filter(|(name, _)| !self.running.contains_key(*name));
        let refused = refused.map(|(name, refused)| Shown::refused(name, &refused.why));
        self.status.show(running.chain(refused).collect());
    }

    fn publish_event(&self, event: PluginEvent) {
        if self.events.try_send(event).is_err() {
            debug!("nobody receives the events of plugins");
        }
    }
}

/// Says which kinds are not declared any more: nobody looks at their host objects from now on.
fn tell_of_removed(old: &Wanted, new: &Wanted) {
    let kinds = |wanted: &Wanted| -> BTreeSet<Kind> {
        wanted.declared.iter().map(|mapping| mapping.declaration().resource.kind()).collect()
    };
    for kind in kinds(old).difference(&kinds(new)) {
        info!(%kind, "the kind is not in `mappings` any more; its host objects stay as they are");
    }
}

/// Says that a plugin has no file, and which one may be meant.
fn no_file<'a>(name: &str, files: impl Iterator<Item = &'a String>) -> String {
    /// Other plugins than the one that is meant have names that are a little alike, too.
    const ALIKE: f64 = 0.8;
    let near = nearest(name, files).filter(|(likeness, _)| *likeness > ALIKE);
    let hint = near.map_or_else(String::new, |(_, file)| format!("; is {file}.wasm meant?"));
    format!("there is no file {name}.wasm in `plugins.folder`{hint}")
}

async fn changed(watcher: Option<&Watcher>) {
    match watcher {
        Some(watcher) => watcher.changed().await,
        None => std::future::pending().await,
    }
}
