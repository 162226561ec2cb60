//! Plugins without clusters: for authors, for tests, and for the question what would become of an object.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use weft_core::context::{Facts, Notes, Owner, Version};
use weft_core::kinds;
use weft_core::mapper::{Hold, Mapper};
use weft_core::names::Names;
use weft_core::object::{HostObject, Kind, VirtualObject};
use weft_core::offline::Offline;
use weft_core::translate;

use crate::config::DeclaredMapping;
use crate::plugin::component;
use crate::plugin::generation::Generation;
use crate::plugin::grants::Entry;
use crate::plugin::metrics::Metrics;
use crate::plugin::sandbox::Sandbox;
use crate::registry::{Registry, Sources};

/// A sandbox and the rules of every kind, beside any cluster.
pub struct Workbench {
    sandbox: Arc<Sandbox>,
    sources: Sources,
    mappers: Vec<Arc<dyn Mapper>>,
}

/// What has become of an object.
pub struct Translated {
    /// The object that would be written, or why none is.
    pub result: Result<HostObject, Hold>,
    /// What the rules had to tell beside it.
    pub notes: Notes,
}

impl Workbench {
    /// A workbench with the built-in rules and what is declared.
    ///
    /// # Errors
    /// The sandbox cannot be set up, or what is declared is built in already.
    pub fn new(cache: Option<&Path>, declared: &[DeclaredMapping]) -> Result<Self> {
        let sandbox = Arc::new(Sandbox::new(cache)?);
        let declared = declared.iter().map(DeclaredMapping::declaration).collect();
        let mut bench =
            Self { sandbox, sources: Sources { declared, ..Sources::default() }, mappers: Vec::new() };
        bench.compose()?;
        Ok(bench)
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// Loads the component `file` with what `entry` grants it, or with all that it asks for.
    ///
    /// # Errors
    /// Why it is not loaded, in words for its author.
    pub fn load(&mut self, file: &Path, entry: Option<Entry>) -> Result<Arc<Generation>> {
        let bytes = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
        let wasi = entry.as_ref().is_some_and(|entry| entry.wasi);
        let loaded = component::load(&self.sandbox, &bytes, wasi)?;
        let entry = entry.unwrap_or_default();
        let entry = if entry.kinds.is_empty() { entry.asked_by(&loaded.descriptor) } else { entry };
        let name = loaded.descriptor.name.clone();
        let metrics = Arc::new(Metrics::default());
        let generation = Arc::new(Generation::new(&name, loaded, entry, self.sandbox.clone(), metrics)?);
        self.sources.loaded.insert(name, generation.clone());
        self.compose()?;
        Ok(generation)
    }

    /// The rules of a kind.
    ///
    /// # Errors
    /// Nobody maps it.
    pub fn mapper(&self, kind: &Kind) -> Result<&Arc<dyn Mapper>> {
        match self.mappers.iter().find(|mapper| mapper.resource().kind() == *kind) {
            Some(mapper) => Ok(mapper),
            None => bail!("{kind} is not mapped: neither built in, nor declared, nor added by a plugin"),
        }
    }

    /// What would become of `source` on the host.
    ///
    /// # Errors
    /// Nobody maps its kind.
    pub fn to_host(
        &self,
        surroundings: &Offline,
        source: &VirtualObject,
        host: Option<&HostObject>,
    ) -> Result<Translated> {
        let mapper = self.mapper(&weft_core::offline::key_of(source).kind)?;
        let notes = Notes::default();
        let ctx = surroundings.ctx(host, &notes);
        let result = mapper.before_create(source);
        let result = result.and_then(|()| translate::to_host(&ctx, mapper.as_ref(), source));
        Ok(Translated { result, notes })
    }

    /// What would flow back from `host` to `current`.
    ///
    /// # Errors
    /// Nobody maps its kind.
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

    fn compose(&mut self) -> Result<()> {
        self.mappers = Registry::new(kinds::builtin()).compose(&self.sources)?;
        Ok(())
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
        host_version: version,
        virtual_version: version,
    };
    Ok(Offline::new(Names::new("my-vcluster", "team-a")?, facts))
}
