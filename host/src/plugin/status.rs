//! What is loaded, for people to look at.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use weft_core::object::Kind;

use crate::config::grants::FailurePolicy;
use crate::plugin::breaker::Pause;
use crate::plugin::generation::Generation;
use crate::registry::descriptor::Role;

/// What is loaded now.
#[derive(Debug, Default)]
pub struct Status {
    shown: RwLock<Vec<Shown>>,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// The version that is called, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its kinds with its role, such as `v1/Pod mutate(100)`.
    pub mappings: Vec<String>,
    /// Why the file that is there now is not the one that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Why it is not called at present, where it keeps failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Kinds of which nothing is synced because a server does not serve them so, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_synced: BTreeMap<String, String>,
    /// Whether objects of its kinds wait for it, as its failure policy says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_awaited: bool,
}

/// A plugin that keeps failing, and is not called for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// How many calls failed in a row.
    pub failures: u32,
    /// Why the last one did: a reason, and the field that it is about.
    pub last_failure: String,
    /// When the next call is made, in RFC 3339.
    pub next_try: String,
}

impl Paused {
    /// As of `now`.
    pub(super) fn of(pause: &Pause, now: Timestamp) -> Self {
        let next_try = now.saturating_add(pause.left).unwrap_or(now);
        let (failures, last_failure) = (pause.failures, pause.last_failure.clone());
        Self { failures, last_failure, next_try: format!("{next_try:.0}") }
    }
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failures, last_failure, next_try } = self;
        write!(
            f,
            "{failures} calls in a row failed, the last with {last_failure}; it is not called until {next_try}"
        )
    }
}

impl Status {
    /// The plugins, by name.
    pub fn shown(&self) -> Vec<Shown> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The plugins that objects wait for, and why each is not called; none where nothing waits.
    pub fn awaited(&self) -> Option<String> {
        let shown = self.shown();
        let awaited =
            shown.iter().filter(|plugin| plugin.is_awaited).map(|Shown { name, problem, paused, .. }| {
                let paused = paused.as_ref().map(ToString::to_string);
                let why = paused.or(problem.clone()).unwrap_or_else(|| "it is not loaded".to_owned());
                format!("objects wait for the plugin {name}: {why}")
            });
        let awaited: Vec<String> = awaited.collect();
        (!awaited.is_empty()).then(|| awaited.join("; "))
    }

    pub(super) fn show(&self, mut shown: Vec<Shown>) {
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

impl Shown {
    pub(super) fn running(generation: &Generation, problem: Option<String>, paused: Option<Paused>) -> Self {
        let descriptor = &generation.loaded.descriptor;
        let mappings = descriptor.mappings.iter();
        Self {
            name: generation.name.to_string(),
            version: Some(descriptor.version.clone()),
            digest: Some(generation.loaded.digest.clone()),
            mappings: mappings
                .map(|mapping| format!("{} {}", mapping.resource.kind(), mapping.role))
                .collect(),
            problem,
            is_awaited: paused.is_some() && generation.entry.on_failure == FailurePolicy::Hold,
            paused,
            not_synced: BTreeMap::new(),
        }
    }

    /// The kinds that are declared in the configuration, as if they were a plugin's.
    pub(super) fn declared(kinds: impl Iterator<Item = Kind>) -> Self {
        let mappings = kinds.map(|kind| format!("{kind} {}", Role::Add)).collect();
        Self { mappings, ..Self::named("mappings") }
    }

    /// The same, with those of its kinds that are in `unserved`.
    #[must_use]
    pub fn with_unserved(mut self, unserved: &BTreeMap<Kind, String>) -> Self {
        let is_its = |kind: &Kind| self.mappings.iter().any(|it| it.split(' ').next() == Some(kind.as_str()));
        let its = unserved.iter().filter(|(kind, _)| is_its(kind));
        self.not_synced = its.map(|(kind, why)| (kind.to_string(), why.clone())).collect();
        self
    }

    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
            digest: None,
            mappings: Vec::new(),
            problem: None,
            paused: None,
            not_synced: BTreeMap::new(),
            is_awaited: false,
        }
    }

    pub(super) fn refused(name: &str, why: &str, is_awaited: bool) -> Self {
        Self { problem: Some(why.to_owned()), is_awaited, ..Self::named(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plugins_that_objects_wait_for_are_a_problem() {
        let status = Status::default();
        status.show(vec![Shown::refused("labels", "its file is damaged", false)]);
        assert_eq!(status.awaited(), None, "its failure policy lets objects pass, or refuses them");
        status.show(vec![Shown::refused("labels", "its file is damaged", true)]);
        let expected = "objects wait for the plugin labels: its file is damaged";
        assert_eq!(status.awaited().as_deref(), Some(expected));
    }
}
