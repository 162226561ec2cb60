//! What the rules of each kind are made of, in the order in which they run.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_core::chain::Chain;
use weft_core::declared::{Declaration, Declared};
use weft_core::mapper::Mapper;
use weft_core::object::Kind;

use crate::registry::conflict::Conflict;
use crate::registry::descriptor::{Mapping, Role};
use crate::registry::gap::Gap;
use crate::registry::{Missing, Owner, Plugin, Sources};

/// What a kind's rules are made of.
#[derive(Default)]
pub(super) struct Recipe {
    /// The rules under those of plugins.
    pub(super) base: Option<Base>,
    /// The rules of plugins, in the order in which they run.
    pub(super) links: Vec<Link>,
    /// Plugins that should have a rule here and are not loaded.
    pub(super) missing: Vec<Missing>,
}

/// The rules under those of plugins, and whose they are.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) owner: Owner,
    rules: BaseRules,
}

#[derive(Clone)]
enum BaseRules {
    Builtin(Arc<dyn Mapper>),
    Declared(Box<Declaration>),
}

/// The rule of one plugin for one kind.
#[derive(Clone)]
pub(super) struct Link {
    plugin: Arc<dyn Plugin>,
    mapping: Mapping,
}

/// The recipe of every kind.
///
/// # Errors
/// The sources do not fit together.
pub(super) fn recipes(
    builtin: &[Arc<dyn Mapper>],
    sources: &Sources,
) -> Result<BTreeMap<Kind, Recipe>, Conflict> {
    let mut recipes: BTreeMap<Kind, Recipe> = BTreeMap::new();
    for mapper in builtin {
        let base = Base { owner: Owner::Builtin, rules: BaseRules::Builtin(mapper.clone()) };
        recipes.entry(mapper.spec().resource.kind()).or_default().base = Some(base);
    }
    for declaration in &sources.declared {
        own(&mut recipes, Owner::Declared, declaration.clone())?;
    }
    let links = || sources.loaded.values().flat_map(links_of);
    for link in links().filter(|link| link.mapping.role == Role::Add) {
        let owner = Owner::Plugin(link.plugin.name().to_owned());
        // It edits what is known of the kind, before any other plugin.
        own(&mut recipes, owner, declaration(&link.mapping))?.links.push(link);
    }
    for link in links().filter(|link| link.mapping.role != Role::Add) {
        join(&mut recipes, link)?;
    }
    for missing in &sources.missing {
        for kind in missing.kinds.iter().map(|kind| Kind::new(kind)) {
            if let Some(recipe) = recipes.get_mut(&kind) {
                recipe.missing.push(missing.clone());
            }
        }
    }
    for recipe in recipes.values_mut() {
        // Stable: ties stay in the order of the plugins' names.
        recipe.links.sort_by_key(|link| link.mapping.role.order());
    }
    Ok(recipes)
}

fn links_of(plugin: &Arc<dyn Plugin>) -> Vec<Link> {
    let link = |mapping: &Mapping| Link { plugin: plugin.clone(), mapping: mapping.clone() };
    plugin.descriptor().mappings.iter().map(link).collect()
}

/// Makes `owner` the one that maps a kind that nobody maps yet.
fn own(
    recipes: &mut BTreeMap<Kind, Recipe>,
    owner: Owner,
    declaration: Declaration,
) -> Result<&mut Recipe, Conflict> {
    let kind = declaration.resource.kind();
    let recipe = recipes.entry(kind.clone()).or_default();
    if let Some(base) = &recipe.base {
        return Err(Conflict::TwoOwners { kind, first: base.owner.clone(), second: owner });
    }
    recipe.base = Some(Base { owner, rules: BaseRules::Declared(Box::new(declaration)) });
    Ok(recipe)
}

/// Adds a rule that overrides or mutates.
fn join(recipes: &mut BTreeMap<Kind, Recipe>, link: Link) -> Result<(), Conflict> {
    let (kind, role) = (link.mapping.resource.kind(), link.mapping.role);
    let plugin = link.plugin.name().to_owned();
    let recipe = recipes.get_mut(&kind);
    let Some((base, links)) =
        recipe.and_then(|recipe| recipe.base.as_ref().map(|base| (base, &mut recipe.links)))
    else {
        return Err(Conflict::NoOwner { kind, plugin, role });
    };
    let (found, expected) = (&link.mapping.resource.plural, base.plural());
    if **found != *expected {
        return Err(Conflict::Plural {
            kind,
            plugin,
            found: found.to_string(),
            expected: expected.to_owned(),
        });
    }
    if role == Role::Override {
        let overriding = links.iter().find(|other| other.mapping.role == Role::Override);
        let first = match (overriding, &base.rules) {
            (Some(other), _) => Some(Owner::Plugin(other.plugin.name().to_owned())),
            (None, BaseRules::Declared(_)) => Some(base.owner.clone()),
            (None, BaseRules::Builtin(_)) => None,
        };
        if let Some(first) = first {
            return Err(Conflict::TwoOwners { kind, first, second: Owner::Plugin(plugin) });
        }
    }
    links.push(link);
    Ok(())
}

/// What a plugin that adds a kind says of it.
fn declaration(mapping: &Mapping) -> Declaration {
    let declared = mapping.declaration();
    let back = if mapping.to_virtual { declared.back } else { Vec::new() };
    Declaration { back, ..declared }
}

impl Recipe {
    /// The rules of `base` with the links in their places.
    pub(super) fn mapper(&self, base: &Base) -> Arc<dyn Mapper> {
        let mapper = base.mapper();
        if self.links.is_empty() && self.missing.is_empty() {
            return mapper;
        }
        let mut chain = Chain::new(mapper);
        for Link { plugin, mapping } in &self.links {
            let lookups = plugin.descriptor().lookups.iter();
            let looks_up: Vec<_> = lookups.map(|permission| permission.resource.clone()).collect();
            chain.add_declared(&mapping.references, &looks_up);
            let extension = plugin.clone().extension(mapping);
            match mapping.role {
                Role::Override => chain.overridden_by(extension),
                Role::Add | Role::Mutate(_) => chain.followed_by(extension),
            }
        }
        for missing in &self.missing {
            chain.followed_by(Arc::new(Gap::new(missing.clone())));
        }
        Arc::new(chain)
    }
}

impl Base {
    fn mapper(&self) -> Arc<dyn Mapper> {
        match &self.rules {
            BaseRules::Builtin(mapper) => mapper.clone(),
            BaseRules::Declared(declaration) => Arc::new(Declared::new((**declaration).clone())),
        }
    }

    fn plural(&self) -> &str {
        match &self.rules {
            BaseRules::Builtin(mapper) => &mapper.spec().resource.plural,
            BaseRules::Declared(declaration) => &declaration.resource.plural,
        }
    }

    /// Whether the rules are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (&self.rules, &other.rules) {
            (BaseRules::Builtin(one), BaseRules::Builtin(other)) => Arc::ptr_eq(one, other),
            (BaseRules::Declared(one), BaseRules::Declared(other)) => one == other,
            _ => false,
        }
    }
}

impl Link {
    /// Whether the rule is the same: of the same version of the plugin, in the same place.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plugin, &other.plugin) && self.mapping == other.mapping
    }
}
