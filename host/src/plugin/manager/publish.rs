//! What leaves the manager: the rules of every kind, the status that people look at, and events.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{debug, info, warn};
use weft_core::object::Kind;

use super::{Manager, Refused, Running, Wanted};
use crate::config::DeclaredMapping;
use crate::plugin::status::Shown;
use crate::registry::plugin_event::PluginEvent;
use crate::registry::{Missing, Plugin, Rules, Sources};

impl Manager {
    /// What the rules are composed of now.
    pub(super) fn sources(&self) -> Sources {
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

    /// Composes the rules and applies them, unless their sources conflict; shows people what is loaded.
    pub(super) fn publish(&mut self) {
        match self.registry.compose(&self.sources()) {
            Ok(mappers) => {
                let clean_up = self.clean_up.clone();
                self.rules.send_replace(Arc::new(Rules { mappers, clean_up }));
            }
            Err(conflict) => {
                warn!("the rules conflict and stay as they were: {conflict}");
                self.publish_event(PluginEvent::warning("", "RulesRefused", conflict.to_string()));
            }
        }
        self.show();
    }

    /// Shows people what is loaded.
    pub(super) fn show(&self) {
        let running = self.running.iter().map(|(name, running)| {
            let refused = self.refused.get(name).map(|refused| refused.why.clone());
            Shown::running(&running.generation, refused)
        });
        let refused = self.refused.iter().filter(|(name, _)| !self.running.contains_key(*name));
        let refused = refused.map(|(name, refused)| Shown::refused(name, &refused.why));
        self.status.show(running.chain(refused).collect());
    }

    /// Emits an event; it is dropped where nobody receives it, or not fast enough.
    pub(super) fn publish_event(&self, event: PluginEvent) {
        if self.events.try_send(event).is_err() {
            debug!("nobody receives the events of plugins");
        }
    }
}

/// Logs which kinds are not declared any more: their host objects are not reconciled from now on.
pub(super) fn log_no_longer_declared(old: &Wanted, new: &Wanted) {
    for kind in no_longer_declared(old, new) {
        info!(%kind, "the kind is not in `mappings` any more; its host objects stay as they are");
    }
}

fn no_longer_declared(old: &Wanted, new: &Wanted) -> BTreeSet<Kind> {
    let kinds = |wanted: &Wanted| -> BTreeSet<Kind> {
        wanted.declared.iter().map(|mapping| mapping.declaration().resource.kind()).collect()
    };
    &kinds(old) - &kinds(new)
}
