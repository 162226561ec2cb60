//! What is loaded, for people to look at.

use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::plugin::generation::Generation;

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
    /// Whether objects of its kinds wait for it, as its failure policy says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_awaited: bool,
}

impl Status {
    /// The plugins, by name.
    pub fn shown(&self) -> Vec<Shown> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The plugins that objects wait for, and why each is not loaded; none where nothing waits.
    pub fn awaited(&self) -> Option<String> {
        let shown = self.shown();
        let awaited =
            shown.iter().filter(|plugin| plugin.is_awaited).map(|Shown { name, problem, .. }| {
                let why = problem.as_deref().unwrap_or("it is not loaded");
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
    pub(super) fn running(generation: &Generation, problem: Option<String>) -> Self {
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
            is_awaited: false,
        }
    }

    pub(super) fn refused(name: &str, why: &str, is_awaited: bool) -> Self {
        let problem = Some(why.to_owned());
        let name = name.to_owned();
        Self { name, version: None, digest: None, mappings: Vec::new(), problem, is_awaited }
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
