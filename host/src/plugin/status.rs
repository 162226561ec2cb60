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
}

impl Status {
    /// The plugins, by name.
    pub fn shown(&self) -> Vec<Shown> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        }
    }

    pub(super) fn refused(name: &str, why: &str) -> Self {
        let problem = Some(why.to_owned());
        Self { name: name.to_owned(), version: None, digest: None, mappings: Vec::new(), problem }
    }
}
