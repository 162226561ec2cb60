//! A manager without a syncer around it, for tests: its folder, and what leaves it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use weft_core::extension::Failure;
use weft_core::kinds;
use weft_core::object::Kind;

use super::{Manager, Parts, Wanted};
use crate::plugin::generation::Generation;
use crate::plugin::metrics::Metrics;
use crate::plugin::status::{Shown, Status};
use crate::plugin::testing::{MODULE, names, pod_to_host, sandbox};
use crate::registry::plugin_event::PluginEvent;
use crate::registry::{Registry, Rules};

/// A manager with a folder of its own.
pub(super) struct Bench {
    manager: Option<Manager>,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    events: mpsc::Receiver<PluginEvent>,
    status: Arc<Status>,
    counted: prometheus_client::registry::Registry,
    folder: tempfile::TempDir,
    versions: tempfile::TempDir,
}

impl Bench {
    /// A manager of a configuration with these `plugins.grants` and this `plugins.load`.
    pub(super) fn new(grants: &str, load: &Value) -> Self {
        Self::in_folders(tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), grants, load)
    }

    /// The manager of the next start: it finds the folders as this one leaves them.
    pub(super) fn restarted(self, grants: &str, load: &Value) -> Self {
        Self::in_folders(self.folder, self.versions, grants, load)
    }

    fn in_folders(
        folder: tempfile::TempDir,
        versions: tempfile::TempDir,
        grants: &str,
        load: &Value,
    ) -> Self {
        let wanted = wanted(folder.path(), grants, load);
        let (sender, events) = mpsc::channel(16);
        let (status, mut counted) =
            (Arc::new(Status::default()), prometheus_client::registry::Registry::default());
        let (manager, rules) = Manager::new(Parts {
            wanted: Arc::new(wanted),
            sandbox: sandbox(),
            versions: Some(versions.path().to_owned()),
            names: names(),
            metrics: Arc::new(Metrics::registered(&mut counted)),
            registry: Registry::new(kinds::builtin()),
            events: sender,
            status: status.clone(),
        });
        Self { manager: Some(manager), rules, events, status, counted, folder, versions }
    }

    pub(super) fn manager(&mut self) -> &mut Manager {
        self.manager.as_mut().unwrap()
    }

    /// The manager, to be run.
    pub(super) fn take_manager(&mut self) -> Manager {
        self.manager.take().unwrap()
    }

    /// A configuration with the folder and these `plugins.grants` and `plugins.load`.
    pub(super) fn wanted(&self, grants: &str, load: &Value) -> Arc<Wanted> {
        Arc::new(wanted(self.folder.path(), grants, load))
    }

    /// Another `plugins.grants` and `plugins.load`.
    pub(super) fn configure(&mut self, grants: &str, load: &Value) {
        self.manager().wanted = self.wanted(grants, load);
    }

    /// Replaces a file of the folder, as compilers do.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let part = self.folder.path().join(".part");
        std::fs::write(&part, bytes).unwrap();
        std::fs::rename(part, self.folder.path().join(name)).unwrap();
    }

    /// Changes the files of the versions that are remembered.
    pub(super) fn damage_versions(&self) {
        let folder = self.versions.path().join("versions/team-label");
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "wasm") {
                std::fs::write(file, MODULE).unwrap();
            }
        }
    }

    pub(super) fn delete(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    /// What the manager does when the folder changes; returns the events.
    pub(super) async fn scan(&mut self) -> Vec<String> {
        if self.manager().scan().await {
            self.manager().publish();
        }
        self.events()
    }

    /// What the manager does now and then; returns the events.
    pub(super) fn check_trials(&mut self) -> Vec<String> {
        if self.manager().check_trials() {
            self.manager().publish();
        }
        self.events()
    }

    /// The events since the last look, as `reason: message`, without digests.
    pub(super) fn events(&mut self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.events.try_recv().ok());
        events.map(|event| format!("{}: {}", event.reason, without_digests(&event.message))).collect()
    }

    /// What people see of the only plugin there is.
    pub(super) fn shown(&self) -> Option<Shown> {
        let shown = self.status.shown();
        assert!(shown.len() <= 1, "{shown:?}");
        shown.into_iter().next()
    }

    /// What objects wait for.
    pub(super) fn awaited(&self) -> Option<String> {
        self.status.awaited()
    }

    /// The same: its version, and why its file is not the one that is called.
    pub(super) fn state(&self) -> (Option<String>, Option<String>) {
        let shown = self.shown();
        let problem = shown.as_ref().and_then(|shown| shown.problem.as_deref().map(without_digests));
        (shown.and_then(|shown| shown.version), problem)
    }

    /// The version of `team-label` that is called.
    pub(super) fn running(&self) -> Arc<Generation> {
        self.manager.as_ref().unwrap().running["team-label"].generation.clone()
    }

    /// Has the version that is called fail this often.
    pub(super) fn fail(&self, times: usize) {
        let failure = Failure::new("PluginTrapped", "unreachable");
        (0..times).for_each(|_| self.running().breaker.called(Some(&failure)));
    }

    /// The label `team` that the rules give a pod, or the reason that it has none.
    pub(super) fn team(&self) -> String {
        let rules = self.rules.borrow().clone();
        let is_of_pods = |kind: Kind| kind.as_str() == "v1/Pod";
        let mapper = rules.mappers.iter().find(|mapper| is_of_pods(mapper.spec().resource.kind())).unwrap();
        match pod_to_host(mapper.as_ref()) {
            Ok(pod) => pod.label("team").unwrap_or("no team").to_owned(),
            Err(hold) => hold.problem().reason.clone(),
        }
    }

    /// How many versions were tried with this result.
    pub(super) fn counted(&self, result: &str) -> usize {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.counted).unwrap();
        let label = format!("result=\"{result}\"");
        let line =
            text.lines().find(|line| line.starts_with("plugin_reloads_total") && line.contains(&label));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

fn wanted(folder: &Path, grants: &str, load: &Value) -> Wanted {
    let plugins = json!({"folder": folder, "grants": grants, "load": load});
    Wanted { plugins: serde_json::from_value(plugins).unwrap(), declared: Vec::new() }
}

/// `load` with an entry for `team-label` that grants it what it requests.
pub(super) fn load(team: &str) -> Value {
    json!({"team-label": {"kinds": ["v1/Pod"], "settings": {"team": team}}})
}

fn without_digests(message: &str) -> String {
    let mut parts = message.split(" (");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((digest, rest)) if digest.len() == 12 => text.push_str(rest),
            _ => text.extend([" (", part]),
        }
    }
    text
}
