//! Which rules each kind has: built in, declared, and from plugins. Two owners of one kind are refused.
//!
//! A [`Plugin`] is what this module sees of a loaded component; nothing here knows WebAssembly.

pub mod conflict;
pub mod descriptor;
mod gap;
mod permissions;
pub mod plugin_event;
mod recipe;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use weft_core::declared::Declaration;
use weft_core::extension::{Extension, OnFailure};
use weft_core::mapper::Mapper;
use weft_core::object::Kind;

pub use conflict::Conflict;
use descriptor::{Descriptor, Mapping};
use recipe::{Base, Link, Recipe};

/// What is done with host objects of every kind: informers list and watch, the writer creates, patches and deletes, and an object
/// that a cache does not show is read before it is judged.
pub const SYNCED: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];

/// The rules in use.
#[derive(Clone, Default)]
pub struct Rules {
    /// The rules of each kind; a kind without any is not synced.
    pub mappers: Vec<Arc<dyn Mapper>>,
    /// Kinds whose host objects are deleted when they are no longer synced; those of others stay as they are.
    pub clean_up: BTreeSet<Kind>,
}

/// One version of a plugin with its settings. It never changes: another version, or other settings, is another
/// object.
pub trait Plugin: Send + Sync {
    /// Name of the plugin.
    fn name(&self) -> &str;

    /// What it says about itself.
    fn descriptor(&self) -> &Descriptor;

    /// Whether the operator has said that kinds it adds may act for others.
    fn may_act_for_others(&self) -> bool {
        false
    }

    /// Its rule for the kind of `mapping`, one of its descriptor's.
    fn extension(self: Arc<Self>, mapping: &Mapping) -> Arc<dyn Extension>;
}

/// Everything that rules come from.
#[derive(Default, Clone)]
pub struct Sources {
    /// Kinds that the configuration describes.
    pub declared: Vec<Declaration>,
    /// Plugins that are loaded, by name.
    pub loaded: BTreeMap<String, Arc<dyn Plugin>>,
    /// Plugins that should be loaded and are not.
    pub missing: Vec<Missing>,
}

/// A plugin that should be loaded and is not: its failure policy applies to the objects of its kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Name of the plugin.
    pub name: String,
    /// Kinds that the operator has granted it.
    pub kinds: Vec<String>,
    /// What happens to their objects.
    pub on_failure: OnFailure,
}

/// Who maps a kind: decides what the content of its host objects is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// weft itself.
    Builtin,
    /// `mappings` of the configuration.
    Declared,
    /// The plugin of this name.
    Plugin(String),
}

/// Composes the rules of all kinds, and keeps those that have not changed.
pub struct Registry {
    builtin: Vec<Arc<dyn Mapper>>,
    composed: BTreeMap<Kind, Composed>,
}

/// Rules, and what they were made of.
struct Composed {
    base: Base,
    links: Vec<Link>,
    missing: Vec<Missing>,
    mapper: Arc<dyn Mapper>,
}

impl Registry {
    /// A registry of these built-in rules.
    pub fn new(builtin: Vec<Arc<dyn Mapper>>) -> Self {
        Self { builtin, composed: BTreeMap::new() }
    }

    /// The rules of every kind. Those whose sources are the same as before are the same objects.
    ///
    /// # Errors
    /// The sources do not fit together; the rules of before stay.
    pub fn compose(&mut self, sources: &Sources) -> Result<Vec<Arc<dyn Mapper>>, Conflict> {
        let mut composed = BTreeMap::new();
        for (kind, recipe) in recipe::recipes(&self.builtin, sources)? {
            let Some(base) = recipe.base.clone() else { continue };
            let new = match self.composed.remove(&kind) {
                Some(old) if old.is_of(&base, &recipe) => old,
                _ => Composed::new(base, recipe),
            };
            composed.insert(kind, new);
        }
        self.composed = composed;
        Ok(self.composed.values().map(|composed| composed.mapper.clone()).collect())
    }

    /// Passes if the sources fit together.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self, sources: &Sources) -> Result<(), Conflict> {
        recipe::recipes(&self.builtin, sources).map(drop)
    }

    /// Whose rules the kind has under those of plugins that override or mutate it; none for a kind without rules.
    pub fn base_owner(&self, kind: &Kind) -> Option<Owner> {
        self.composed.get(kind).map(|composed| composed.base.owner.clone())
    }
}

impl Composed {
    fn new(base: Base, recipe: Recipe) -> Self {
        let mapper = recipe.mapper(&base);
        Self { base, links: recipe.links, missing: recipe.missing, mapper }
    }

    fn is_of(&self, base: &Base, recipe: &Recipe) -> bool {
        self.base.is(base)
            && self.missing == recipe.missing
            && self.links.len() == recipe.links.len()
            && self.links.iter().zip(&recipe.links).all(|(one, other)| one.is(other))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin => f.write_str("weft itself"),
            Self::Declared => f.write_str("`mappings` of the configuration"),
            Self::Plugin(name) => write!(f, "the plugin {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::kinds;
    use weft_core::object::ResourceType;

    use crate::registry::descriptor::Role;
    use crate::registry::testing::{cat, mapping, plugin};

    fn registry() -> Registry {
        Registry::new(kinds::builtin())
    }

    fn sources(plugins: &[Arc<dyn Plugin>]) -> Sources {
        let loaded = plugins.iter().map(|plugin| (plugin.name().to_owned(), plugin.clone()));
        Sources { loaded: loaded.collect(), ..Sources::default() }
    }

    fn mutating_config_maps() -> Arc<dyn Plugin> {
        plugin("p", mapping(ResourceType::core("ConfigMap", "configmaps"), Role::Mutate(1)))
    }

    /// The rules of `old` that are not in `new`: kinds whose objects have to be reconciled again.
    fn replaced(old: &[Arc<dyn Mapper>], new: &[Arc<dyn Mapper>]) -> Vec<String> {
        let is_kept = |mapper: &&Arc<dyn Mapper>| new.iter().any(|other| Arc::ptr_eq(mapper, other));
        let replaced = old.iter().filter(|mapper| !is_kept(mapper));
        replaced.map(|mapper| mapper.spec().resource.kind().to_string()).collect()
    }

    #[test]
    fn the_same_sources_are_the_same_rules_and_others_replace_those_of_their_kind_alone() {
        let (mut registry, plugin) = (registry(), mutating_config_maps());
        let bare = registry.compose(&Sources::default()).unwrap();
        let with_plugin = registry.compose(&sources(std::slice::from_ref(&plugin))).unwrap();
        assert_eq!(replaced(&bare, &with_plugin), ["v1/ConfigMap"]);
        let again = registry.compose(&sources(std::slice::from_ref(&plugin))).unwrap();
        assert!(replaced(&with_plugin, &again).is_empty());
        let another_version = registry.compose(&sources(&[mutating_config_maps()])).unwrap();
        assert_eq!(replaced(&again, &another_version), ["v1/ConfigMap"]);
        let without = registry.compose(&Sources::default()).unwrap();
        assert!(replaced(&bare, &without).is_empty(), "the built-in rules are as before");
    }

    #[test]
    fn a_plugin_that_is_missing_replaces_the_rules_of_its_kinds_and_only_a_change_of_it_does_again() {
        let mut registry = registry();
        let missing = |on_failure| {
            let missing = Missing { name: "p".to_owned(), kinds: vec!["v1/Pod".to_owned()], on_failure };
            Sources { missing: vec![missing], ..Sources::default() }
        };
        let bare = registry.compose(&Sources::default()).unwrap();
        let held = registry.compose(&missing(OnFailure::Hold)).unwrap();
        assert_eq!(replaced(&bare, &held), ["v1/Pod"]);
        assert!(replaced(&held, &registry.compose(&missing(OnFailure::Hold)).unwrap()).is_empty());
        assert_eq!(replaced(&held, &registry.compose(&missing(OnFailure::Deny)).unwrap()), ["v1/Pod"]);
    }

    #[test]
    fn sources_that_conflict_leave_the_rules_as_they_were() {
        let (mut registry, cats) = (registry(), plugin("a", mapping(cat(), Role::Add)));
        let before = registry.compose(&sources(std::slice::from_ref(&cats))).unwrap();
        let both = sources(&[cats.clone(), plugin("b", mapping(cat(), Role::Add))]);
        assert!(registry.check(&both).is_err() && registry.compose(&both).is_err());
        let after = registry.compose(&sources(&[cats])).unwrap();
        assert!(replaced(&before, &after).is_empty());
    }

    #[test]
    fn the_owner_of_a_kind_is_whoever_its_rules_are_from_under_those_of_plugins() {
        let mut registry = registry();
        let plugins = [mutating_config_maps(), plugin("cats", mapping(cat(), Role::Add))];
        registry.compose(&sources(&plugins)).unwrap();
        let owner = |kind: &str| registry.base_owner(&Kind::new(kind));
        assert_eq!(owner("v1/ConfigMap"), Some(Owner::Builtin));
        assert_eq!(owner("example.com/v1/Cat"), Some(Owner::Plugin("cats".to_owned())));
        assert_eq!(owner("example.com/v1/Dog"), None);
    }
}
