//! Runs a translation and records the calls of plugins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Result, bail};
use weft_core::context::{Ctx, Notes};
use weft_core::extension::{Answer, Extension, Failure, Request, Terms};
use weft_core::kinds;
use weft_core::mapper::Mapper;
use weft_core::object::{Fields, HostObject, Kind, VirtualObject};
use weft_core::offline::Offline;
use weft_core::spec::KindSpec;
use weft_core::translate;
use weft_core::verdict::Hold;

use crate::author::trace::{By, Call, Trace};
use crate::registry::descriptor::{Descriptor, Mapping};
use crate::registry::{Owner, Plugin, Registry, Sources};

/// A plugin whose calls are recorded.
struct Traced {
    plugin: Arc<dyn Plugin>,
    calls: Calls,
}

/// A rule whose calls are recorded.
struct TracedRule {
    rule: Arc<dyn Extension>,
    calls: Calls,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// The rules of one kind; calls of plugins are recorded.
pub(in crate::author) struct Tracer {
    mapper: Arc<dyn Mapper>,
    base: By,
    calls: Calls,
}

impl Tracer {
    /// The rules that `sources` make for `kind`.
    ///
    /// # Errors
    /// The kind is not mapped.
    pub(in crate::author) fn new(kind: &Kind, sources: &Sources) -> Result<Self> {
        let calls = Calls::default();
        let traced = |(name, plugin): (&String, &Arc<dyn Plugin>)| {
            let traced = Traced { plugin: plugin.clone(), calls: calls.clone() };
            (name.clone(), Arc::new(traced) as Arc<dyn Plugin>)
        };
        let loaded = sources.loaded.iter().map(traced).collect();
        let mut registry = Registry::new(kinds::builtin());
        let mappers = registry.compose(&Sources { loaded, ..sources.clone() })?;
        let mapper = mappers.into_iter().find(|mapper| mapper.spec().resource.kind() == *kind);
        let (Some(mapper), Some(owner)) = (mapper, registry.base_owner(kind)) else {
            bail!("{kind} is not mapped: neither built in, nor declared, nor added by a plugin");
        };
        let name = mapper.spec().resource.kind.to_string();
        let base = match owner {
            Owner::Builtin => By::Builtin(name),
            Owner::Declared => By::Declared(name),
            Owner::Plugin(plugin) => By::Plugin(plugin),
        };
        Ok(Self { mapper, base, calls })
    }

    /// Traces the translation of `source` to the host.
    pub(in crate::author) fn trace_to_host(
        self,
        around: &Offline,
        source: &VirtualObject,
        host: Option<&HostObject>,
    ) -> Trace {
        let notes = Notes::default();
        let ctx = around.ctx(host, &notes);
        let draft = draft(&ctx, &*self.mapper, source);
        let result = self.mapper.patcher().before_create(source);
        let result = result.and_then(|()| translate::to_host(&ctx, &*self.mapper, source));
        let mut fields = source.fields().clone();
        // `status` is never synced to the host.
        fields.remove("status");
        self.trace(fields, draft.into_fields(), result.map(HostObject::into_fields), notes)
    }

    /// Traces the translation of `host` back to `current`.
    pub(in crate::author) fn trace_to_virtual(
        self,
        around: &Offline,
        host: &HostObject,
        current: &VirtualObject,
    ) -> Trace {
        let notes = Notes::default();
        let result = translate::to_virtual(&around.ctx(Some(host), &notes), &*self.mapper, host, current);
        let fields = current.fields().clone();
        self.trace(fields.clone(), fields, Ok(result.into_fields()), notes)
    }

    fn trace(self, source: Fields, draft: Fields, result: Result<Fields, Hold>, notes: Notes) -> Trace {
        let calls = std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        Trace { base: self.base, source, draft, calls, result, notes }
    }
}

impl Plugin for Traced {
    fn name(&self) -> &str {
        self.plugin.name()
    }

    fn descriptor(&self) -> &Descriptor {
        self.plugin.descriptor()
    }

    fn may_act_for_others(&self) -> bool {
        self.plugin.may_act_for_others()
    }

    fn extension(self: Arc<Self>, mapping: &Mapping) -> Arc<dyn Extension> {
        let rule = self.plugin.clone().extension(mapping);
        Arc::new(TracedRule { rule, calls: self.calls.clone() })
    }
}

impl Extension for TracedRule {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn terms(&self) -> &Terms {
        self.rule.terms()
    }

    fn call(&self, ctx: &Ctx<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
        let start = Instant::now();
        let answer = self.rule.call(ctx, request);
        let took = start.elapsed();
        let (plugin, draft) = (self.name().to_owned(), request.draft.clone());
        let call = Call { plugin, draft, answer: answer.clone(), refusal: None, took };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        answer
    }

    fn refused(&self, failure: &Failure) {
        // A refusal always concerns the last call: the next one starts afterwards.
        if let Some(call) = self.calls.lock().unwrap_or_else(PoisonError::into_inner).last_mut() {
            call.refusal = Some(failure.clone());
        }
        self.rule.refused(failure);
    }
}

/// The draft: the result of the common part alone.
pub(in crate::author) fn draft(ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject) -> HostObject {
    let drafting = Drafting { mapper, draft: Mutex::default() };
    // `Drafting` stops the translation as soon as the draft is made.
    let _ = translate::to_host(ctx, &drafting, source);
    HostObject::new(drafting.draft.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Keeps the draft and stops.
struct Drafting<'a> {
    mapper: &'a dyn Mapper,
    draft: Mutex<Fields>,
}

impl Mapper for Drafting<'_> {
    fn spec(&self) -> &KindSpec {
        self.mapper.spec()
    }

    fn to_host(&self, _: &Ctx<'_>, _: &VirtualObject, draft: HostObject) -> Result<HostObject, Hold> {
        *self.draft.lock().unwrap_or_else(PoisonError::into_inner) = draft.into_fields();
        Err(Hold::absent("only the draft is needed"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::author::trace::Stage;
    use crate::author::workbench::surroundings;
    use crate::registry::descriptor::Role;
    use crate::registry::testing::mapping;
    use serde_json::{Value, json};
    use weft_core::edit::Edit;
    use weft_core::extension::OnFailure;
    use weft_core::object::ResourceType;
    use weft_core::offline::key_of;

    fn files(folder: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// The golden virtual objects of the core, each with its file.
    fn golden() -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/golden");
        let files: Vec<PathBuf> = files(&root).iter().flat_map(|kind| files(kind)).collect();
        files.into_iter().filter(|file| file.to_string_lossy().ends_with(".virtual.yaml")).collect()
    }

    /// The documents of the file beside `file` with `part` in place of `virtual`; none if there is no such file.
    fn part(file: &Path, part: &str) -> Vec<Fields> {
        let file = file.to_string_lossy().replace(".virtual.yaml", &format!(".{part}.yaml"));
        let yaml = std::fs::read_to_string(file).unwrap_or_default();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
        documents.into_iter().filter_map(|document| document.as_object().cloned()).collect()
    }

    fn mapper(kind: &Kind) -> Arc<dyn Mapper> {
        let mappers = Registry::new(kinds::builtin()).compose(&Sources::default()).unwrap();
        mappers.into_iter().find(|mapper| mapper.spec().resource.kind() == *kind).unwrap()
    }

    /// What the syncer does, without a trace.
    fn translated(around: &Offline, source: &VirtualObject) -> Result<Fields, Hold> {
        let (mapper, notes) = (mapper(&key_of(source).kind), Notes::default());
        mapper.patcher().before_create(source)?;
        translate::to_host(&around.ctx(None, &notes), &*mapper, source).map(HostObject::into_fields)
    }

    #[test]
    fn a_trace_of_a_built_in_kind_has_the_result_of_the_syncer() {
        let files = golden();
        assert!(files.len() > 50, "{} golden objects were found", files.len());
        for file in files {
            let mut around = surroundings().unwrap();
            for other in part(&file, "others") {
                around.add(VirtualObject::new(other));
            }
            let source = VirtualObject::new(part(&file, "virtual").remove(0));
            let kind = key_of(&source).kind;
            let tracer = || Tracer::new(&kind, &Sources::default()).unwrap();
            let trace = tracer().trace_to_host(&around, &source, None);
            assert_eq!(trace.result, translated(&around, &source), "{}", file.display());
            if let (Some(last), Ok(result)) = (trace.stages().last(), &trace.result) {
                assert_eq!(last.after, *result, "{}", file.display());
            }
            for host in part(&file, "status").into_iter().map(HostObject::new) {
                let (mapper, notes) = (mapper(&kind), Notes::default());
                let back = translate::to_virtual(&around.ctx(Some(&host), &notes), &*mapper, &host, &source);
                let trace = tracer().trace_to_virtual(&around, &host, &source);
                assert_eq!(trace.result, Ok(back.into_fields()), "{}", file.display());
            }
        }
    }

    /// A plugin that answers every call with one edit.
    struct Editing {
        descriptor: Descriptor,
        terms: Terms,
        edit: Edit,
    }

    impl Editing {
        fn sources(edit: Edit) -> Sources {
            let config_maps = ResourceType::core("ConfigMap", "configmaps");
            let mapping = Mapping { virtual_writes: Vec::new(), ..mapping(config_maps, Role::Mutate(100)) };
            let terms = Terms {
                to_host: true,
                to_virtual: false,
                host_writes: mapping.host_writes.clone(),
                virtual_writes: Vec::new(),
                on_failure: OnFailure::Hold,
            };
            let descriptor = Descriptor {
                name: "editing".to_owned(),
                version: "0.1.0".to_owned(),
                summary: String::new(),
                mappings: vec![mapping],
                lookups: Vec::new(),
                settings_schema: None,
                uses_time: false,
            };
            let plugin: Arc<dyn Plugin> = Arc::new(Self { descriptor, terms, edit });
            Sources { loaded: [("editing".to_owned(), plugin)].into(), ..Sources::default() }
        }
    }

    impl Plugin for Editing {
        fn name(&self) -> &str {
            &self.descriptor.name
        }

        fn descriptor(&self) -> &Descriptor {
            &self.descriptor
        }

        fn extension(self: Arc<Self>, _: &Mapping) -> Arc<dyn Extension> {
            self
        }
    }

    impl Extension for Editing {
        fn name(&self) -> &str {
            &self.descriptor.name
        }

        fn terms(&self) -> &Terms {
            &self.terms
        }

        fn call(&self, _: &Ctx<'_>, _: &Request<'_>) -> Result<Answer, Failure> {
            Ok(Answer { verdict: Ok(self.edit.clone()), events: Vec::new(), conditions: None })
        }

        fn refused(&self, _: &Failure) {}
    }

    fn traced(edit: Edit) -> Trace {
        let source = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"},
            "status": {"never": "synced"},
        });
        let source = VirtualObject::from_json(source).unwrap();
        let tracer = Tracer::new(&key_of(&source).kind, &Editing::sources(edit)).unwrap();
        tracer.trace_to_host(&surroundings().unwrap(), &source, None)
    }

    #[test]
    fn every_stage_begins_where_the_one_before_ends() {
        let trace = traced(Edit::Merge(json!({"data": {"k": "v"}})));
        let stages = trace.stages();
        let by: Vec<String> = stages.iter().map(|stage| stage.by.to_string()).collect();
        assert_eq!(by, ["common part", "plugin editing", "common part"]);
        assert_eq!(stages[0].before, trace.source);
        assert!(!trace.source.contains_key("status"));
        for pair in stages.windows(2) {
            assert_eq!(pair[0].after, pair[1].before);
        }
        assert_eq!(stages[1].after["data"], json!({"k": "v"}));
        assert_eq!(stages.last().map(|stage| &stage.after), trace.result.as_ref().ok());
    }

    #[test]
    fn a_refused_edit_is_recorded_with_the_call_and_makes_no_stage() {
        let trace = traced(Edit::Merge(json!({"spec": {"not": "granted"}})));
        let [call] = &trace.calls[..] else { panic!("there are {} calls", trace.calls.len()) };
        assert_eq!(call.refusal.as_ref().and_then(|refusal| refusal.field.as_deref()), Some("spec"));
        assert!(call.wanted().is_some() && call.result().is_none());
        assert!(matches!(&trace.result, Err(Hold::Fail(problem)) if problem.reason == "PluginRefused"));
        let is_of_plugin = |stage: &Stage| matches!(stage.by, By::Plugin(_));
        assert!(!trace.stages().iter().any(is_of_plugin));
    }

    #[test]
    fn a_kind_that_is_not_mapped_has_no_tracer() {
        let error = Tracer::new(&Kind::new("example.com/v1/Widget"), &Sources::default()).err().unwrap();
        assert!(error.to_string().starts_with("example.com/v1/Widget is not mapped"), "{error}");
    }
}
