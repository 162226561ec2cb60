//! Connects the interface to a [`Plugin`]: reads settings and requests, and turns the changes of a draft into an edit.

use std::cell::OnceCell;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::bindings::exports::weft::mapping::{mapper, plugin};
use crate::bindings::weft::mapping::types::{self, Outcome};
use crate::call::Call;
use crate::plugin::AnyPlugin;
use crate::{Object, Plugin, Problem, Result, fail, log, settings};

thread_local! {
    /// The plugin with its settings. An instance serves one call, but weft configures it first.
    static PLUGIN: OnceCell<Box<dyn AnyPlugin>> = const { OnceCell::new() };
}

/// The component that [`crate::export!`] makes from a plugin.
#[derive(Debug)]
pub struct Component<P>(PhantomData<P>);

impl<P: Plugin + DeserializeOwned> plugin::Guest for Component<P> {
    fn describe() -> types::Descriptor {
        log::log_panics();
        P::describe().0
    }

    fn configure(text: String) -> core::result::Result<(), Vec<Problem>> {
        log::log_panics();
        let plugin: P = settings::read(&text)?;
        let problems = plugin.check();
        if !problems.is_empty() {
            return Err(problems);
        }
        // A second call would keep the first settings; weft configures each instance once.
        PLUGIN.with(|cell| cell.set(Box::new(plugin)).ok());
        Ok(())
    }
}

impl<P: Plugin + DeserializeOwned> mapper::Guest for Component<P> {
    fn to_host(request: mapper::Request) -> Outcome {
        run(request, |plugin, call, draft| plugin.to_host(call, draft))
    }

    fn to_virtual(request: mapper::Request) -> Outcome {
        run(request, |plugin, call, draft| plugin.to_virtual(call, draft))
    }
}

fn run(request: mapper::Request, rule: fn(&dyn AnyPlugin, &Call, &mut Object) -> Result) -> Outcome {
    PLUGIN.with(|cell| match cell.get() {
        Some(plugin) => decide(request, |call, draft| rule(plugin.as_ref(), call, draft)),
        None => {
            decide(request, |_, _| Err(fail("NotConfigured", "the plugin was called before its settings")))
        }
    })
}

/// Runs one rule.
pub(crate) fn decide(request: mapper::Request, rule: impl FnOnce(&Call, &mut Object) -> Result) -> Outcome {
    let (call, mut draft) = Call::new(request);
    let verdict = match rule(&call, &mut draft).and_then(|()| draft.into_edit()) {
        Ok(None) => types::Verdict::Apply(types::Edit::Unchanged),
        Ok(Some(patch)) => types::Verdict::Apply(types::Edit::Patch(patch.into_json())),
        Err(verdict) => verdict.into_record(),
    };
    let effects = call.into_effects();
    Outcome { verdict, events: effects.events, conditions: effects.conditions, extra: Vec::new() }
}
