//! Traces a translation: the input and the result of every rule.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use weft_core::context::{Ctx, Notes};
use weft_core::extension::{Answer, Extension, Failure, Request, Terms};
use weft_core::keys::{APPLIED, DIGEST};
use weft_core::kinds;
use weft_core::mapper::Mapper;
use weft_core::object::{Fields, HostObject, Kind, VirtualObject};
use weft_core::offline::Offline;
use weft_core::spec::KindSpec;
use weft_core::translate;
use weft_core::verdict::Hold;

use crate::registry::descriptor::{Descriptor, Mapping};
use crate::registry::{Owner, Plugin, Registry, Sources};

/// A trace of one translation.
pub struct Trace {
    /// Who has the base rule of the kind, before plugins that run after it.
    pub base: By,
    /// The object that is translated, without fields that are never synced in this direction.
    pub source: Fields,
    /// The draft of the common part, before the first rule.
    pub draft: Fields,
    /// The calls of plugins, in order.
    pub calls: Vec<Call>,
    /// The object that weft would write, or why it writes none.
    pub result: Result<Fields, Hold>,
    /// Events, conditions and failures of the rules.
    pub notes: Notes,
}

/// One call of a plugin.
pub struct Call {
    /// Name of the plugin.
    pub plugin: String,
    /// The draft that it was given.
    pub draft: Fields,
    /// Its answer.
    pub answer: Result<Answer, Failure>,
    /// Why its edit was refused.
    pub refusal: Option<Failure>,
    /// Duration from the request to the answer, including serialisation, instantiation and settings.
    pub took: Duration,
}

/// A step from the source to the result.
pub struct Stage {
    /// Who made it.
    pub by: By,
    /// The object before it.
    pub before: Fields,
    /// The object after it.
    pub after: Fields,
}

/// Who changes objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The part that is the same for every kind: names, labels, references, and fields that are synced back.
    Common,
    /// The built-in rule of a kind.
    Builtin(String),
    /// `mappings` of the configuration.
    Declared(String),
    /// A plugin.
    Plugin(String),
}

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
pub(super) struct Tracer {
    mapper: Arc<dyn Mapper>,
    base: By,
    calls: Calls,
}

impl Tracer {
    /// The rules that `sources` make for `kind`.
    ///
    /// # Errors
    /// The kind is not mapped.
    pub(super) fn new(kind: &Kind, sources: &Sources) -> Result<Self> {
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
    pub(super) fn to_host(
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
    pub(super) fn to_virtual(self, around: &Offline, host: &HostObject, current: &VirtualObject) -> Trace {
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

impl Trace {
    /// The steps from the source to the result, as far as the translation got, without steps that change nothing.
    pub fn stages(&self) -> Vec<Stage> {
        let mut path = Path { now: self.source.clone(), stages: Vec::new() };
        path.go(By::Common, self.draft.clone());
        for call in &self.calls {
            // A change between two calls was made by the base rule.
            path.go(self.base.clone(), call.draft.clone());
            if let Some(after) = call.result() {
                path.go(By::Plugin(call.plugin.clone()), after);
            }
        }
        if let Ok(result) = &self.result {
            path.go(self.base.clone(), unsigned(result.clone()));
            path.go(By::Common, result.clone());
        }
        path.stages
    }
}

/// Collects the steps between versions of one object.
struct Path {
    now: Fields,
    stages: Vec<Stage>,
}

impl Path {
    fn go(&mut self, by: By, after: Fields) {
        if self.now != after {
            let before = std::mem::replace(&mut self.now, after.clone());
            self.stages.push(Stage { by, before, after });
        }
    }
}

impl Call {
    /// The draft with the edit, if it was applied.
    pub fn result(&self) -> Option<Fields> {
        self.wanted().filter(|_| self.refusal.is_none())
    }

    /// The draft with the edit, if it applies to the draft.
    pub fn wanted(&self) -> Option<Fields> {
        match &self.answer {
            Ok(Answer { verdict: Ok(edit), .. }) => edit.apply(&self.draft).ok(),
            _ => None,
        }
    }
}

impl Plugin for Traced {
    fn name(&self) -> &str {
        self.plugin.name()
    }

    fn descriptor(&self) -> &Descriptor {
        self.plugin.descriptor()
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
pub(super) fn draft(ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject) -> HostObject {
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

/// The result without the two annotations that are added at the very end.
fn unsigned(mut result: Fields) -> Fields {
    if let Some(annotations) = annotations_mut(&mut result) {
        annotations.remove(DIGEST);
        annotations.remove(APPLIED);
    }
    result
}

fn annotations_mut(object: &mut Fields) -> Option<&mut Fields> {
    object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Common => f.write_str("common part"),
            Self::Builtin(kind) => write!(f, "built-in {kind}"),
            Self::Declared(kind) => write!(f, "declared {kind}"),
            Self::Plugin(name) => write!(f, "plugin {name}"),
        }
    }
}
