//! A translation that is watched: what every rule was given, and what came of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use weft_core::chain::Chain;
use weft_core::context::{Ctx, Notes};
use weft_core::declared::Declared;
use weft_core::extension::{Answer, Extension, Failure, Request, Terms};
use weft_core::keys::{APPLIED, DIGEST};
use weft_core::mapper::Mapper;
use weft_core::object::{Fields, HostObject, Kind, VirtualObject};
use weft_core::offline::Offline;
use weft_core::spec::KindSpec;
use weft_core::translate;
use weft_core::verdict::Hold;

use crate::plugin::descriptor::Role;
use crate::plugin::generation::{Generation, Rule};
use crate::registry;

/// One translation, step by step.
pub struct Trace {
    /// Whose rules the kind has where no plugin has a say.
    pub base: By,
    /// The object that is translated.
    pub source: Fields,
    /// What the common part made of it, before the first rule.
    pub draft: Fields,
    /// The calls of plugins, in order.
    pub calls: Vec<Call>,
    /// The object that would be written, or why none is.
    pub result: Result<Fields, Hold>,
    /// What the rules had to tell beside it.
    pub notes: Notes,
}

/// One call of a plugin.
pub struct Call {
    /// Name of the plugin.
    pub plugin: String,
    /// What it was given.
    pub draft: Fields,
    /// What it said.
    pub answer: Result<Answer, Failure>,
    /// Why what it said was not carried out.
    pub refusal: Option<Failure>,
    /// From the request to the answer: writing out, instantiation and settings included.
    pub took: Duration,
}

/// A part of the way from the source to the result.
pub struct Stage {
    /// Who had it.
    pub by: By,
    /// The object before it.
    pub before: Fields,
    /// The object after it.
    pub after: Fields,
}

/// Who changes objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// What is the same for every kind: names, labels, references, and what flows back.
    Common,
    /// The built-in rules of a kind.
    Builtin(String),
    /// `mappings` of the configuration.
    Declared(String),
    /// A plugin.
    Plugin(String),
}

/// A rule that takes note of what it is asked.
struct Witness {
    rule: Arc<Rule>,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// The rules of one kind, with notes of what they are asked.
pub(super) struct Watched {
    chain: Chain,
    base: By,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Watched {
    /// The rules that `plugins` and, without them, `known` have for `kind`: in the order in which
    /// [`crate::registry::Registry`] puts them.
    pub(super) fn new<'a>(
        kind: &Kind,
        known: &[Arc<dyn Mapper>],
        is_builtin: bool,
        plugins: impl Iterator<Item = &'a Arc<Generation>>,
    ) -> Result<Self> {
        let rules = plugins.flat_map(Generation::rules);
        let mut rules: Vec<Arc<Rule>> =
            rules.filter(|rule| rule.mapping().resource.kind() == *kind).collect();
        rules.sort_by_key(|rule| place(rule.mapping().role));
        let known = known.iter().find(|mapper| mapper.spec().resource.kind() == *kind);
        let Some((mapper, base)) = base(known, is_builtin, &rules) else {
            bail!("{kind} is not mapped: neither built in, nor declared, nor added by a plugin");
        };
        let calls = Arc::default();
        Ok(Self { chain: chain(mapper, rules, &calls), base, calls })
    }

    /// The translation of `source` to the host, with what was noted on the way.
    pub(super) fn watch_to_host(
        self,
        around: &Offline,
        source: &VirtualObject,
        host: Option<&HostObject>,
    ) -> Trace {
        let notes = Notes::default();
        let ctx = around.ctx(host, &notes);
        let draft = draft(&ctx, &self.chain, source);
        let result = self.chain.patcher().before_create(source);
        let result = result.and_then(|()| translate::to_host(&ctx, &self.chain, source));
        let mut fields = source.fields().clone();
        // It never goes this way.
        fields.remove("status");
        self.trace(fields, draft.into_fields(), result.map(HostObject::into_fields), notes)
    }

    /// The translation of `host` back to `current`, with what was noted on the way.
    pub(super) fn watch_to_virtual(
        self,
        around: &Offline,
        host: &HostObject,
        current: &VirtualObject,
    ) -> Trace {
        let notes = Notes::default();
        let result = translate::to_virtual(&around.ctx(Some(host), &notes), &self.chain, host, current);
        let fields = current.fields().clone();
        self.trace(fields.clone(), fields, Ok(result.into_fields()), notes)
    }

    fn trace(self, source: Fields, draft: Fields, result: Result<Fields, Hold>, notes: Notes) -> Trace {
        let calls = std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        Trace { base: self.base, source, draft, calls, result, notes }
    }
}

impl Trace {
    /// The way from the source to the result, as far as it went; parts that changed nothing are left out.
    pub fn stages(&self) -> Vec<Stage> {
        let mut path = Path { now: self.source.clone(), stages: Vec::new() };
        path.go(By::Common, self.draft.clone());
        for call in &self.calls {
            // What has happened between two calls is the work of the rules that are no plugin's.
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

/// A way through versions of one object.
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
    /// The draft with the edit, if there is one and it was carried out.
    pub fn result(&self) -> Option<Fields> {
        self.wanted().filter(|_| self.refusal.is_none())
    }

    /// The draft with the edit, if there is one that fits.
    pub fn wanted(&self) -> Option<Fields> {
        match &self.answer {
            Ok(Answer { verdict: Ok(edit), .. }) => edit.apply(&self.draft).ok(),
            _ => None,
        }
    }
}

impl Extension for Witness {
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
        // It is always the last call that is refused: the next one is made afterwards.
        if let Some(call) = self.calls.lock().unwrap_or_else(PoisonError::into_inner).last_mut() {
            call.refusal = Some(failure.clone());
        }
        self.rule.refused(failure);
    }
}

/// Where a rule of this role comes among the rules of its kind; ties are in the order of names.
pub fn place(role: Role) -> u64 {
    match role {
        Role::Add | Role::Override => 0,
        Role::Mutate(order) => u64::from(order).saturating_add(1),
    }
}

/// The common part of translation alone.
pub(super) fn draft(ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject) -> HostObject {
    let drafting = Drafting { mapper, draft: Mutex::default() };
    // Stops where the draft is made; that is what it is here for.
    let _ = translate::to_host(ctx, &drafting, source);
    HostObject::new(drafting.draft.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Takes the draft and goes no further.
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
        Err(Hold::absent("only the draft is wanted"))
    }
}

/// The rules that stand under those of plugins, and whose they are.
fn base(
    known: Option<&Arc<dyn Mapper>>,
    is_builtin: bool,
    rules: &[Arc<Rule>],
) -> Option<(Arc<dyn Mapper>, By)> {
    if let Some(mapper) = known {
        let kind = mapper.spec().resource.kind.to_string();
        return Some((mapper.clone(), if is_builtin { By::Builtin(kind) } else { By::Declared(kind) }));
    }
    let adds = rules.first().filter(|rule| rule.mapping().role == Role::Add)?;
    let name = adds.generation().name.to_string();
    Some((Arc::new(Declared::new(registry::declaration(adds.mapping()))), By::Plugin(name)))
}

/// The base with the rules in their places, each of them watched.
fn chain(base: Arc<dyn Mapper>, rules: Vec<Arc<Rule>>, calls: &Arc<Mutex<Vec<Call>>>) -> Chain {
    let mut chain = Chain::new(base);
    for rule in rules {
        chain.add_declared(&rule.mapping().references, &rule.generation().looks_up());
        let is_instead = rule.mapping().role == Role::Override;
        let witness = Arc::new(Witness { rule, calls: calls.clone() });
        if is_instead {
            chain.overridden_by(witness);
        } else {
            chain.followed_by(witness);
        }
    }
    chain
}

/// The result without the two annotations that are put on it at the very end.
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
