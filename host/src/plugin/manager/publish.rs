//! What leaves the manager: the rules of every kind, the status for people, and events.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{debug, info, warn};
use weft_core::object::Kind;

use super::{Manager, Refused, Running, Wanted};
use crate::config::DeclaredMapping;
use crate::config::grants::FailurePolicy;
use crate::plugin::status::Shown;
use crate::registry::plugin_event::PluginEvent;
use crate::registry::{Missing, Plugin, Rules, Sources};

impl Manager {
    /// What the rules are composed of now.
    pub(super) fn sources(&self) -> Sources {
        let plugin = |running: &Running| running.generation.clone() as Arc<dyn Plugin>;
        let loaded = self.running.iter().map(|(name, running)| (name.clone(), plugin(running)));
        let missing = self.refused.iter().filter(|(name, refused)| self.is_missing(name, refused));
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

    /// Whether the failure policy of a plugin that was refused applies: no version of it is loaded. Where plugins come and
    /// go with their files, nothing waits for one without a file.
    fn is_missing(&self, name: &str, refused: &Refused) -> bool {
        !self.running.contains_key(name) && (refused.signature.is_some() || !self.is_development())
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
            Shown::running(&running.generation, refused, running.paused.clone())
        });
        let refused = self.refused.iter().filter(|(name, _)| !self.running.contains_key(*name));
        let refused = refused.map(|(name, refused)| {
            let is_held = refused.entry.on_failure == FailurePolicy::Hold;
            Shown::refused(name, &refused.why, is_held && self.is_missing(name, refused))
        });
        let declared: Vec<Kind> =
            self.wanted.declared.iter().map(|mapping| mapping.declaration().resource.kind()).collect();
        let declared = (!declared.is_empty()).then(|| Shown::declared(declared.into_iter()));
        self.status.show(running.chain(refused).chain(declared).collect());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Bench, load};
    use super::*;
    use crate::plugin::testing::MODULE;
    use crate::registry::plugin_event::PluginEvent;

    fn declaring(kinds: &[&str]) -> Wanted {
        let mapping = |kind: &&str| json!({"apiVersion": "v1", "kind": kind, "plural": kind.to_lowercase()});
        let declared = kinds.iter().map(|kind| serde_json::from_value(mapping(kind)).unwrap());
        Wanted { declared: declared.collect(), ..Wanted::default() }
    }

    #[test]
    fn kinds_that_are_no_longer_declared_are_those_of_the_old_configuration_alone() {
        let gone = no_longer_declared(&declaring(&["A", "B"]), &declaring(&["B", "C"]));
        assert_eq!(gone, BTreeSet::from([Kind::new("v1/A")]));
    }

    #[tokio::test]
    async fn a_broken_file_is_waited_for_and_a_missing_one_only_where_entries_decide() {
        for (grants, file, is_awaited) in [
            ("explicit", None, true),
            ("requested", None, false),
            ("explicit", Some(MODULE), true),
            ("requested", Some(MODULE), true),
        ] {
            let mut bench = Bench::new(grants, &load("web"));
            if let Some(bytes) = file {
                bench.put("team-label.wasm", bytes);
            }
            bench.scan().await;
            let missing = bench.manager().sources().missing;
            assert_eq!(missing.len(), usize::from(is_awaited), "{grants} {file:?}");
            assert!(missing.iter().all(|missing| missing.kinds == ["v1/Pod"]), "{missing:?}");
        }
    }

    #[tokio::test]
    async fn declared_rules_that_conflict_are_reported_and_the_old_ones_stay() {
        let mut bench = Bench::new("explicit", &json!({}));
        bench.manager().publish();
        let before = bench.rules.borrow().mappers.len();
        bench.manager().wanted = Arc::new(declaring(&["ConfigMap"]));
        bench.manager().publish();
        let events = bench.events();
        let conflict = "RulesRefused: v1/ConfigMap is mapped by weft itself and by `mappings`";
        assert!(events.len() == 1 && events[0].starts_with(conflict), "{events:?}");
        assert_eq!(bench.rules.borrow().mappers.len(), before);
        bench.manager().wanted = Arc::new(declaring(&["Cat"]));
        bench.manager().publish();
        assert_eq!(bench.rules.borrow().mappers.len(), before + 1);
    }

    #[tokio::test]
    async fn events_that_nobody_receives_hold_nothing_up() {
        let mut bench = Bench::new("explicit", &json!({}));
        let event = |number: usize| PluginEvent::normal("p", "Test", number.to_string());
        (0..100).for_each(|number| bench.manager().publish_event(event(number)));
        assert_eq!(bench.events().first().map(String::as_str), Some("Test: 0"));
    }
}
