//! Runs rules and plugins without clusters: for authors, for tests, and for `weft translate`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use weft_core::context::{Facts, Notes, Owner, Version};
use weft_core::kinds;
use weft_core::mapper::Mapper;
use weft_core::names::Names;
use weft_core::object::{HostObject, Kind, VirtualObject};
use weft_core::offline::Offline;
use weft_core::translate;
use weft_core::verdict::Hold;

use crate::author::trace::{Trace, Tracer};
use crate::config::DeclaredMapping;
use crate::config::grants::Entry;
use crate::plugin::component::{self, Loaded};
use crate::plugin::generation::{self, Generation};
use crate::plugin::metrics::Metrics;
use crate::plugin::sandbox::Sandbox;
use crate::registry::{Conflict, Registry, Sources};

/// A sandbox and the rules of every kind, without a cluster.
pub struct Workbench {
    sandbox: Arc<Sandbox>,
    sources: Sources,
    plugins: BTreeMap<String, Arc<Generation>>,
    mappers: Vec<Arc<dyn Mapper>>,
}

/// A component, and whether it needs WASI stubs.
#[derive(Clone)]
pub struct Examined {
    /// The component.
    pub loaded: Loaded,
    /// Whether it imports WASI.
    pub needs_wasi: bool,
}

/// Why a component is not added to the workbench.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It does not match its grants or settings.
    #[error(transparent)]
    Unfit(#[from] generation::Error),
    /// It conflicts with other rules.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// The result of a translation.
pub struct Translated {
    /// The object that weft would write, or why it writes none.
    pub result: Result<HostObject, Hold>,
    /// Events, conditions and failures of the rules.
    pub notes: Notes,
}

impl Workbench {
    /// A workbench with the built-in rules and the declared mappings.
    ///
    /// # Errors
    /// The sandbox cannot be set up, or a declared kind is built in.
    pub fn new(cache: Option<&Path>, declared: &[DeclaredMapping]) -> Result<Self> {
        Self::in_sandbox(Arc::new(Sandbox::new(cache)?), declared)
    }

    /// The same in an existing sandbox.
    ///
    /// # Errors
    /// A declared kind is built in.
    pub fn in_sandbox(sandbox: Arc<Sandbox>, declared: &[DeclaredMapping]) -> Result<Self> {
        let declared = declared.iter().map(DeclaredMapping::declaration).collect();
        let sources = Sources { declared, ..Sources::default() };
        let mappers = Registry::new(kinds::builtin()).compose(&sources)?;
        Ok(Self { sandbox, sources, plugins: BTreeMap::new(), mappers })
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// Loads the component `file` with the grants of `entry`, or with all that it requests.
    ///
    /// # Errors
    /// Why it is not loaded, for its author.
    pub fn load(&mut self, file: &Path, entry: Option<Entry>) -> Result<Arc<Generation>> {
        let (loaded, entry) = if let Some(entry) = entry {
            (self.read(file, entry.wasi)?, entry)
        } else {
            let examined = self.examine(file)?;
            (examined.loaded.clone(), examined.entry())
        };
        let entry = loaded.descriptor.grant_unless_explicit(entry);
        Ok(self.take(loaded, entry)?)
    }

    /// Reads, checks, compiles and describes the component `file`.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub fn read(&self, file: &Path, wasi: bool) -> Result<Loaded> {
        let bytes = read(file)?;
        component::load(&self.sandbox, &bytes, wasi).with_context(|| file.display().to_string())
    }

    /// The same, with WASI stubs if it needs them.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub fn examine(&self, file: &Path) -> Result<Examined> {
        let bytes = read(file)?;
        self.examine_bytes(&bytes).with_context(|| file.display().to_string())
    }

    /// The same with the bytes of a file.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub fn examine_bytes(&self, bytes: &[u8]) -> Result<Examined, component::Error> {
        match component::load(&self.sandbox, bytes, false) {
            Ok(loaded) => Ok(Examined { loaded, needs_wasi: false }),
            Err(component::Error::Wasi { .. }) => {
                let loaded = component::load(&self.sandbox, bytes, true)?;
                Ok(Examined { loaded, needs_wasi: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Adds a component with the grants and settings of `entry`.
    ///
    /// # Errors
    /// Why it is not added; the workbench is unchanged.
    pub fn take(&mut self, loaded: Loaded, entry: Entry) -> Result<Arc<Generation>, Refusal> {
        let name = loaded.descriptor.name.clone();
        let metrics = Arc::new(Metrics::default());
        let generation = Arc::new(Generation::new(&name, loaded, entry, self.sandbox.clone(), metrics)?);
        let before = self.sources.loaded.insert(name.clone(), generation.clone());
        match Registry::new(kinds::builtin()).compose(&self.sources) {
            Ok(mappers) => self.mappers = mappers,
            Err(conflict) => {
                self.sources.loaded.remove(&name);
                self.sources.loaded.extend(before.map(|before| (name, before)));
                return Err(conflict.into());
            }
        }
        self.plugins.insert(name, generation.clone());
        Ok(generation)
    }

    /// The loaded plugins, sorted by name.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.plugins.values()
    }

    /// The rules of a kind.
    ///
    /// # Errors
    /// It is not mapped.
    pub fn mapper(&self, kind: &Kind) -> Result<&Arc<dyn Mapper>> {
        match self.mappers.iter().find(|mapper| mapper.spec().resource.kind() == *kind) {
            Some(mapper) => Ok(mapper),
            None => bail!("{kind} is not mapped: neither built in, nor declared, nor added by a plugin"),
        }
    }

    /// Translates `source` to the host.
    ///
    /// # Errors
    /// Its kind is not mapped.
    pub fn to_host(
        &self,
        surroundings: &Offline,
        source: &VirtualObject,
        host: Option<&HostObject>,
    ) -> Result<Translated> {
        let mapper = self.mapper(&weft_core::offline::key_of(source).kind)?;
        let notes = Notes::default();
        let ctx = surroundings.ctx(host, &notes);
        let result = mapper.patcher().before_create(source);
        let result = result.and_then(|()| translate::to_host(&ctx, mapper.as_ref(), source));
        Ok(Translated { result, notes })
    }

    /// Translates `host` back to `current`.
    ///
    /// # Errors
    /// Its kind is not mapped.
    pub fn to_virtual(
        &self,
        surroundings: &Offline,
        host: &HostObject,
        current: &VirtualObject,
    ) -> Result<(VirtualObject, Notes)> {
        let mapper = self.mapper(&weft_core::offline::key_of(current).kind)?;
        let notes = Notes::default();
        let ctx = surroundings.ctx(Some(host), &notes);
        Ok((translate::to_virtual(&ctx, mapper.as_ref(), host, current), notes))
    }

    /// Traces the translation of `source` to the host.
    ///
    /// # Errors
    /// Its kind is not mapped.
    pub fn trace_to_host(
        &self,
        surroundings: &Offline,
        source: &VirtualObject,
        host: Option<&HostObject>,
    ) -> Result<Trace> {
        let tracer = Tracer::new(&weft_core::offline::key_of(source).kind, &self.sources)?;
        Ok(tracer.trace_to_host(surroundings, source, host))
    }

    /// Traces the translation of `host` back to `current`.
    ///
    /// # Errors
    /// Its kind is not mapped.
    pub fn trace_to_virtual(
        &self,
        surroundings: &Offline,
        host: &HostObject,
        current: &VirtualObject,
    ) -> Result<Trace> {
        let tracer = Tracer::new(&weft_core::offline::key_of(current).kind, &self.sources)?;
        Ok(tracer.trace_to_virtual(surroundings, host, current))
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}

impl Examined {
    /// An entry that grants what the component requests.
    pub fn entry(&self) -> Entry {
        self.loaded.descriptor.grant_all(Entry { wasi: self.needs_wasi, ..Entry::default() })
    }
}

/// The surroundings that cases are translated in: the virtual cluster `my-vcluster` in the host namespace
/// `team-a`.
pub fn surroundings() -> Result<Offline> {
    let version = Version { major: 1, minor: 36 };
    let facts = Facts {
        owner: Some(Owner {
            name: "my-vcluster".to_owned(),
            uid: "11111111-1111-1111-1111-111111111111".to_owned(),
        }),
        kubernetes: vec!["10.96.0.1".parse()?],
        dns: vec!["10.96.0.10".parse()?],
        cluster_domain: "cluster.local".to_owned(),
        workload_service_account: "weft-workload-my-vcluster".to_owned(),
        node_searches: Vec::new(),
        hosts_file_image: None,
        host_version: version,
        virtual_version: version,
        policy: weft_core::policy::Policy::default(),
    };
    Ok(Offline::new(Names::new("my-vcluster", "team-a")?, facts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A component that labels pods with the team of its settings.
    fn team_label() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mapping-0.1.0/team-label.wasm")
    }

    fn entry(settings: &Value) -> Entry {
        serde_json::from_value(json!({"kinds": ["v1/Pod"], "settings": settings})).unwrap()
    }

    fn pod() -> VirtualObject {
        VirtualObject::from_json(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "image": "nginx"}]},
        }))
        .unwrap()
    }

    fn team(bench: &Workbench) -> Option<String> {
        let translated = bench.to_host(&surroundings().unwrap(), &pod(), None).unwrap();
        translated.result.unwrap().label("team").map(str::to_owned)
    }

    #[test]
    fn a_plugin_runs_with_its_settings_and_a_second_one_of_its_name_replaces_it() {
        let mut bench = Workbench::new(None, &[]).unwrap();
        assert_eq!(team(&bench), None);
        let loaded = bench.read(&team_label(), false).unwrap();
        for name in ["web", "shop"] {
            bench.take(loaded.clone(), entry(&json!({"team": name}))).unwrap();
            assert_eq!(team(&bench).as_deref(), Some(name));
        }
        assert_eq!(bench.plugins().count(), 1);
        let trace = bench.trace_to_host(&surroundings().unwrap(), &pod(), None).unwrap();
        assert_eq!(trace.calls.iter().map(|call| call.plugin.as_str()).collect::<Vec<_>>(), ["team-label"]);
    }

    #[test]
    fn a_plugin_that_is_refused_leaves_the_workbench_as_it_was() {
        let mut bench = Workbench::new(None, &[]).unwrap();
        let loaded = bench.read(&team_label(), false).unwrap();
        bench.take(loaded.clone(), entry(&json!({"team": "web"}))).unwrap();
        let refused = bench.take(loaded, entry(&json!({"taem": "shop"})));
        assert!(matches!(refused, Err(Refusal::Unfit(generation::Error::Settings { .. }))));
        assert_eq!(team(&bench).as_deref(), Some("web"));
    }

    #[test]
    fn a_component_without_an_entry_gets_what_it_requests() {
        let mut bench = Workbench::new(None, &[]).unwrap();
        let examined = bench.examine(&team_label()).unwrap();
        assert!(!examined.needs_wasi);
        assert_eq!(examined.entry().kinds, ["v1/Pod"]);
        bench.load(&team_label(), None).unwrap();
        assert_eq!(team(&bench).as_deref(), Some("none"));
    }

    #[test]
    fn a_file_that_cannot_be_read_and_a_kind_that_is_not_mapped_are_named() {
        let bench = Workbench::new(None, &[]).unwrap();
        let error = bench.examine(Path::new("missing.wasm")).err().unwrap();
        assert_eq!(error.to_string(), "failed to read missing.wasm");
        let error = bench.mapper(&Kind::new("apps/v1/Deployment")).err().unwrap();
        assert!(error.to_string().starts_with("apps/v1/Deployment is not mapped"), "{error}");
    }
}
