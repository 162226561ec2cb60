//! Which rules each kind has: built in, declared, and from plugins. Two owners of one kind are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_core::chain::Chain;
use weft_core::context::Ctx;
use weft_core::declared::{Declaration, Declared};
use weft_core::extension::{Answer, Extension, Failure, OnFailure, Request, Terms};
use weft_core::mapper::Mapper;
use weft_core::object::Kind;

use crate::plugin::descriptor::{Mapping, Role};
use crate::plugin::generation::{Generation, Rule};

/// Puts the rules of all kinds together, and keeps those that have not changed.
pub struct Registry {
    builtin: Vec<Arc<dyn Mapper>>,
    made: BTreeMap<Kind, Made>,
}

/// Everything that rules come from.
#[derive(Default, Clone)]
pub struct Sources {
    /// Kinds that the configuration describes.
    pub declared: Vec<Declaration>,
    /// Plugins that are loaded, by name.
    pub loaded: BTreeMap<String, Arc<Generation>>,
    /// Plugins that should be loaded and are not.
    pub missing: Vec<Missing>,
}

/// A plugin that should be loaded and is not: what it would have had a say in is not done without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Name of the plugin.
    pub name: String,
    /// Kinds that the operator has granted it.
    pub kinds: Vec<String>,
    /// What happens to their objects.
    pub on_failure: OnFailure,
    /// Why it is not loaded.
    pub why: String,
}

/// Why rules do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two want to be the one that maps a kind.
    #[error(
        "{kind} is mapped by {first} and by {second}, and only one can: a plugin may mutate the kind, or override what weft itself does"
    )]
    TwoOwners {
        /// The kind.
        kind: Kind,
        /// Who has it.
        first: String,
        /// Who wants it as well.
        second: String,
    },
    /// There is nothing to override or to run after.
    #[error("the plugin {plugin} wants to {role} {kind}, which nobody maps: let it add the kind")]
    NoOwner {
        /// The kind.
        kind: Kind,
        /// The plugin.
        plugin: String,
        /// What it wants to be.
        role: Role,
    },
    /// The plural that a plugin gives is not the kind's.
    #[error("the plugin {plugin} calls {kind} {found:?} in URLs; it is {expected:?}")]
    Plural {
        /// The kind.
        kind: Kind,
        /// The plugin.
        plugin: String,
        /// What it says.
        found: String,
        /// What it is.
        expected: String,
    },
}

/// What a kind's rules are made of.
#[derive(Default)]
struct Recipe {
    /// The built-in rules, or those that a declaration makes.
    base: Option<Base>,
    owner: String,
    instead: Option<Arc<Rule>>,
    after: Vec<(u32, Arc<Rule>)>,
    missing: Vec<Missing>,
}

#[derive(Clone)]
enum Base {
    Builtin(Arc<dyn Mapper>),
    Declared(Box<Declaration>),
}

/// A version of a plugin in its place.
type Link = (u32, Arc<Generation>);

/// Rules, and what they were made of.
struct Made {
    base: Base,
    /// The versions of the plugins, in order, each with its place.
    links: Vec<Link>,
    missing: Vec<Missing>,
    mapper: Arc<dyn Mapper>,
}

impl Registry {
    /// A registry of these built-in rules.
    pub fn new(builtin: Vec<Arc<dyn Mapper>>) -> Self {
        Self { builtin, made: BTreeMap::new() }
    }

    /// The rules of every kind. Those whose sources are the same as before are the same objects.
    ///
    /// # Errors
    /// The sources do not fit together; what was there before stays.
    pub fn compose(&mut self, sources: &Sources) -> Result<Vec<Arc<dyn Mapper>>, Conflict> {
        let recipes = self.recipes(sources)?;
        let mut made = BTreeMap::new();
        for (kind, recipe) in recipes {
            let Some(base) = recipe.base.clone() else { continue };
            let new = match self.made.remove(&kind) {
                Some(old) if old.is_of(&base, &recipe) => old,
                _ => recipe.make(base),
            };
            made.insert(kind, new);
        }
        self.made = made;
        Ok(self.made.values().map(|made| made.mapper.clone()).collect())
    }

    /// Passes if the sources fit together.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self, sources: &Sources) -> Result<(), Conflict> {
        self.recipes(sources).map(drop)
    }

    fn recipes(&self, sources: &Sources) -> Result<BTreeMap<Kind, Recipe>, Conflict> {
        let mut recipes: BTreeMap<Kind, Recipe> = BTreeMap::new();
        for mapper in &self.builtin {
            let recipe = recipes.entry(mapper.spec().resource.kind()).or_default();
            recipe.own("weft itself", Base::Builtin(mapper.clone()));
        }
        for declaration in &sources.declared {
            let kind = declaration.resource.kind();
            let recipe = free(&mut recipes, &kind, "`mappings` of the configuration")?;
            recipe.own("`mappings` of the configuration", Base::Declared(Box::new(declaration.clone())));
        }
        let rules: Vec<Arc<Rule>> = sources.loaded.values().flat_map(Generation::rules).collect();
        for rule in rules.iter().filter(|rule| rule.mapping().role == Role::Add) {
            let (kind, plugin) = (rule.mapping().resource.kind(), rule.generation().name.to_string());
            let recipe = free(&mut recipes, &kind, &format!("the plugin {plugin}"))?;
            recipe
                .own(&format!("the plugin {plugin}"), Base::Declared(Box::new(declaration(rule.mapping()))));
            // It edits what is known of the kind, before anybody else.
            recipe.after.push((0, rule.clone()));
        }
        for rule in rules.into_iter().filter(|rule| rule.mapping().role != Role::Add) {
            join(&mut recipes, rule)?;
        }
        for missing in &sources.missing {
            for kind in missing.kinds.iter().map(|kind| Kind::new(kind)) {
                if let Some(recipe) = recipes.get_mut(&kind) {
                    recipe.missing.push(missing.clone());
                }
            }
        }
        // Ties stay in the order of the plugins' names.
        for recipe in recipes.values_mut() {
            recipe.after.sort_by_key(|(order, _)| *order);
        }
        Ok(recipes)
    }
}

/// The recipe of a kind that nobody owns yet.
fn free<'a>(
    recipes: &'a mut BTreeMap<Kind, Recipe>,
    kind: &Kind,
    wanted_by: &str,
) -> Result<&'a mut Recipe, Conflict> {
    let recipe = recipes.entry(kind.clone()).or_default();
    if recipe.base.is_some() {
        let (first, second) = (recipe.owner.clone(), wanted_by.to_owned());
        return Err(Conflict::TwoOwners { kind: kind.clone(), first, second });
    }
    Ok(recipe)
}

/// Adds a rule that overrides or mutates.
fn join(recipes: &mut BTreeMap<Kind, Recipe>, rule: Arc<Rule>) -> Result<(), Conflict> {
    let (kind, place) = (rule.mapping().resource.kind(), rule.mapping().role);
    let plugin = rule.generation().name.to_string();
    let Some((recipe, base)) =
        recipes.get_mut(&kind).and_then(|recipe| recipe.base.clone().map(|base| (recipe, base)))
    else {
        return Err(Conflict::NoOwner { kind, plugin, role: place });
    };
    let (found, expected) = (&rule.mapping().resource.plural, base.plural());
    if **found != *expected {
        return Err(Conflict::Plural { kind, plugin, found: found.to_string(), expected });
    }
    match place {
        Role::Mutate(order) => recipe.after.push((order, rule)),
        _ if recipe.instead.is_none() && matches!(base, Base::Builtin(_)) => {
            recipe.owner = format!("the plugin {plugin}");
            recipe.instead = Some(rule);
        }
        _ => {
            let (first, second) = (recipe.owner.clone(), format!("the plugin {plugin}"));
            return Err(Conflict::TwoOwners { kind, first, second });
        }
    }
    Ok(())
}

/// What a plugin that adds a kind says of it.
pub(crate) fn declaration(mapping: &Mapping) -> Declaration {
    Declaration {
        resource: mapping.resource.clone(),
        selection: mapping.selection,
        references: mapping.references.clone(),
        selectors: mapping.selectors.clone(),
        labels: Vec::new(),
        managed: mapping.host_writes.clone(),
        back: if mapping.to_virtual { mapping.virtual_writes.clone() } else { Vec::new() },
        installs_definition: mapping.installs_definition,
    }
}

impl Base {
    fn mapper(&self) -> Arc<dyn Mapper> {
        match self {
            Self::Builtin(mapper) => mapper.clone(),
            Self::Declared(declaration) => Arc::new(Declared::new((**declaration).clone())),
        }
    }

    fn plural(&self) -> String {
        match self {
            Self::Builtin(mapper) => mapper.spec().resource.plural.to_string(),
            Self::Declared(declaration) => declaration.resource.plural.to_string(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Builtin(a), Self::Builtin(b)) => Arc::ptr_eq(a, b),
            (Self::Declared(a), Self::Declared(b)) => a == b,
            _ => false,
        }
    }
}

impl Recipe {
    fn own(&mut self, owner: &str, base: Base) {
        owner.clone_into(&mut self.owner);
        self.base = Some(base);
    }

    /// The versions of the plugins with their places; the one in place of the base comes first.
    fn links(&self) -> Vec<Link> {
        let instead = self.instead.iter().map(|rule| (0, rule.generation().clone()));
        let after =
            self.after.iter().map(|(order, rule)| (order.saturating_add(1), rule.generation().clone()));
        instead.chain(after).collect()
    }

    fn make(self, base: Base) -> Made {
        let (links, mapper) = (self.links(), base.mapper());
        if links.is_empty() && self.missing.is_empty() {
            return Made { base, links, missing: self.missing, mapper };
        }
        let mut chain = Chain::new(mapper);
        for rule in self.instead.iter().chain(self.after.iter().map(|(_, rule)| rule)) {
            chain.add_declared(&rule.mapping().references, &rule.generation().looks_up());
        }
        if let Some(rule) = self.instead {
            chain.overridden_by(rule);
        }
        self.after.into_iter().for_each(|(_, rule)| chain.followed_by(rule));
        self.missing.iter().for_each(|missing| chain.followed_by(Arc::new(Gap::new(missing.clone()))));
        Made { base, links, missing: self.missing, mapper: Arc::new(chain) }
    }
}

impl Made {
    fn is_of(&self, base: &Base, recipe: &Recipe) -> bool {
        let links = recipe.links();
        let same = |(a, b): (&Link, &Link)| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1);
        self.base.is(base)
            && self.missing == recipe.missing
            && self.links.len() == links.len()
            && self.links.iter().zip(&links).all(same)
    }
}

/// Stands where a plugin should be that is not loaded.
struct Gap {
    missing: Missing,
    terms: Terms,
}

impl Gap {
    fn new(missing: Missing) -> Self {
        let terms = Terms {
            to_host: true,
            to_virtual: false,
            host_writes: Vec::new(),
            virtual_writes: Vec::new(),
            on_failure: missing.on_failure,
        };
        Self { missing, terms }
    }
}

impl Extension for Gap {
    fn name(&self) -> &str {
        &self.missing.name
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn call(&self, _: &Ctx<'_>, _: &Request<'_>) -> Result<Answer, Failure> {
        Err(Failure::new(
            "PluginNotLoaded",
            "it is wanted and not loaded; whoever runs the syncer finds why in its log",
        ))
    }

    fn refused(&self, _: &Failure) {}
}
