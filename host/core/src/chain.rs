//! A kind's mapper with extensions in its place or behind it, as one mapper.
//!
//! Each extension gets the draft that the one before it left, and its edit is checked before the next one
//! sees it, so that a refusal names the one that is to blame.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::causes::causes;
use crate::confine::{confine_content, confine_edit, confine_selectors, confine_virtual_edit};
use crate::context::Ctx;
use crate::edit;
use crate::extension::{Direction, Extension, Failure, OnFailure, Request};
use crate::mapper::{Mapper, Patcher};
use crate::object::{Fields, HostObject, Key, ResourceType, VirtualObject};
use crate::references::{self, Reference};
use crate::spec::KindSpec;
use crate::verdict::{Hold, Problem, Verdict};

/// One kind's mapper with extensions in its place or behind it.
pub struct Chain {
    base: Arc<dyn Mapper>,
    /// Decides in place of `base` what the content is. How objects live and are patched stays with `base`.
    instead: Option<Arc<dyn Extension>>,
    after: Vec<Arc<dyn Extension>>,
    spec: KindSpec,
}

/// What a call of an extension has led to.
enum Step {
    /// The draft with its edit.
    Go(Fields),
    /// Nothing is written.
    Stop(Hold),
    /// As if the extension were not there.
    Without,
}

impl Chain {
    /// `base` alone: it decides the same.
    pub fn new(base: Arc<dyn Mapper>) -> Self {
        let spec = KindSpec { may_block: true, ..base.spec().clone() };
        Self { base, instead: None, after: Vec::new(), spec }
    }

    /// Lets `extension` decide what the content is.
    pub fn overridden_by(&mut self, extension: Arc<dyn Extension>) {
        self.instead = Some(extension);
    }

    /// Adds `extension` at the end.
    pub fn followed_by(&mut self, extension: Arc<dyn Extension>) {
        self.after.push(extension);
    }

    /// Adds what an extension declares: places that name other objects, and kinds that it looks up.
    pub fn add_declared(&mut self, references: &[Reference], looks_up: &[ResourceType]) {
        add_new(&mut self.spec.references, references);
        add_new(&mut self.spec.looks_up, looks_up);
    }

    fn edit_host(
        &self,
        ctx: &Ctx<'_>,
        link: &dyn Extension,
        source: &VirtualObject,
        object: &HostObject,
    ) -> Step {
        let confined = |object: &HostObject| confine_content(ctx, &self.spec, object);
        let request = Request {
            direction: Direction::ToHost,
            virtual_object: source,
            host_object: ctx.host_object,
            draft: object.fields(),
        };
        Self::call(ctx, link, &request, |fields| {
            let after = HostObject::new(fields);
            confine_edit(object, &after, &link.terms().host_writes)?;
            confine_selectors(&self.spec, object, &after)?;
            // The extension is not to blame for what the tenant asks for and cannot have.
            if let Err(hold) = confined(&after)
                && confined(object).is_ok()
            {
                return Err(hold);
            }
            Ok(after.into_fields())
        })
    }

    fn edit_virtual(
        ctx: &Ctx<'_>,
        link: &dyn Extension,
        source: &HostObject,
        current: &VirtualObject,
        object: &VirtualObject,
    ) -> Step {
        let request = Request {
            direction: Direction::ToVirtual,
            virtual_object: current,
            host_object: Some(source),
            draft: object.fields(),
        };
        Self::call(ctx, link, &request, |fields| {
            let after = VirtualObject::new(fields);
            confine_virtual_edit(object, &after, &link.terms().virtual_writes)?;
            Ok(after.into_fields())
        })
    }

    /// Calls one extension with a draft, and applies its answer as far as that is allowed.
    fn call(
        ctx: &Ctx<'_>,
        link: &dyn Extension,
        request: &Request<'_>,
        check: impl FnOnce(Fields) -> Verdict<Fields>,
    ) -> Step {
        let answer = match link.call(ctx, request) {
            Ok(answer) => answer,
            Err(failure) => {
                ctx.notes.answered(link.name(), false);
                return fail(ctx, link, &failure);
            }
        };
        answer.events.into_iter().for_each(|event| ctx.notes.event(event));
        if let Some(conditions) = answer.conditions {
            ctx.notes.conditions(link.name(), conditions);
            if request.direction == Direction::ToHost || !link.terms().to_host {
                ctx.notes.answered(link.name(), true);
            }
        }
        let edit = match answer.verdict {
            Ok(edit) => edit,
            Err(Hold::Fail(problem)) => return on_failure(ctx, link, problem),
            Err(hold) => return Step::Stop(hold),
        };
        let edited = edit.apply(request.draft).map_err(|error| unfit(request, &error));
        match edited.and_then(|fields| check(fields).map_err(|hold| refusal(&hold))) {
            Ok(fields) => Step::Go(fields),
            Err(failure) => {
                link.refused(&failure);
                fail(ctx, link, &failure)
            }
        }
    }
}

impl Mapper for Chain {
    fn spec(&self) -> &KindSpec {
        &self.spec
    }

    fn patcher(&self) -> &dyn Patcher {
        self.base.patcher()
    }

    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, draft: HostObject) -> Verdict<HostObject> {
        let instead = self.instead.as_ref().filter(|link| link.terms().to_host);
        let mut object = match instead.map(|link| self.edit_host(ctx, link.as_ref(), source, &draft)) {
            Some(Step::Go(fields)) => HostObject::new(fields),
            Some(Step::Stop(hold)) => return Err(hold),
            Some(Step::Without) | None => self.base.to_host(ctx, source, draft)?,
        };
        for link in self.after.iter().filter(|link| link.terms().to_host) {
            match self.edit_host(ctx, link.as_ref(), source, &object) {
                Step::Go(fields) => object = HostObject::new(fields),
                Step::Stop(hold) => return Err(hold),
                Step::Without => {}
            }
        }
        Ok(object)
    }

    fn to_virtual(&self, ctx: &Ctx<'_>, source: &HostObject, draft: VirtualObject) -> VirtualObject {
        let links = self.instead.iter().chain(&self.after).filter(|link| link.terms().to_virtual);
        let links: Vec<_> = links.collect();
        if links.is_empty() {
            return self.base.to_virtual(ctx, source, draft);
        }
        let current = draft.clone();
        // What the base brings back flows back in any case: an extension edits the result.
        let mut object = self.base.to_virtual(ctx, source, draft);
        for link in links {
            match Self::edit_virtual(ctx, link.as_ref(), source, &current, &object) {
                Step::Go(fields) => object = VirtualObject::new(fields),
                Step::Without => {}
                Step::Stop(hold) => {
                    if let Hold::Fail(problem) | Hold::Reject(problem) = hold {
                        ctx.notes.failure(problem);
                    }
                    return current;
                }
            }
        }
        object
    }

    fn targets(&self, source: &VirtualObject) -> BTreeSet<Key> {
        let mut targets = self.base.targets(source);
        // Those of the base come first, and are in `targets` already.
        let more = self.spec.references.get(self.base.spec().references.len()..).unwrap_or_default();
        targets.extend(references::targets(more, source));
        targets
    }
}

/// Adds those of `more` that `list` does not have.
fn add_new<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn fail(ctx: &Ctx<'_>, link: &dyn Extension, failure: &Failure) -> Step {
    on_failure(ctx, link, failure.problem(link.name()))
}

fn on_failure(ctx: &Ctx<'_>, link: &dyn Extension, problem: Problem) -> Step {
    match link.terms().on_failure {
        OnFailure::Hold => Step::Stop(Hold::Fail(problem)),
        OnFailure::Deny => Step::Stop(Hold::Reject(problem)),
        OnFailure::Core => {
            ctx.notes.failure(problem);
            Step::Without
        }
    }
}

/// Why an edit cannot be applied, with the mapping that answered with it.
fn unfit(request: &Request<'_>, error: &edit::Error) -> Failure {
    let reason = if error.is_of_size() { "PluginEditTooLarge" } else { "PluginEditUnfit" };
    Failure::new(reason, format!("its mapping of {}: {}", request.kind(), causes(error)))
}

/// The guard's refusal, as the failure of the extension whose edit it refused.
fn refusal(hold: &Hold) -> Failure {
    let problem = hold.problem();
    let failure = Failure::new("PluginRefused", problem.why.as_str());
    match &problem.field {
        Some(field) => failure.about(field),
        None => failure,
    }
}
