//! How much of each object of a kind the cache has.

use std::sync::Arc;

use weft_core::mapper::Mapper;
use weft_core::spec::{KindSpec, Selection};

/// How much of each object of a kind the cache has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// All of it.
    Whole,
    /// Its metadata, until something uses the object: the content of what nobody uses, such as Helm's releases, would cost
    /// memory and say nothing.
    Metadata,
}

impl Content {
    /// What is needed of the virtual objects of a kind where `rules` are all there are.
    pub(crate) fn needed(spec: &KindSpec, rules: &[Arc<dyn Mapper>]) -> Self {
        let is_used_alone = spec.policy.selection == Selection::Used;
        // What an object names, and what a rule looks for in it, is in its content.
        let names_others = !spec.references.is_empty();
        let looks_it_up = |rule: &Arc<dyn Mapper>| rule.spec().looks_up.contains(&spec.resource);
        if is_used_alone && !names_others && !rules.iter().any(looks_it_up) {
            Self::Metadata
        } else {
            Self::Whole
        }
    }

    /// Whether what the cache has serves where `needed` is needed.
    pub(crate) fn serves(self, needed: Self) -> bool {
        self == Self::Whole || needed == Self::Metadata
    }
}
