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
        own(&mut recipes, owner, declaration(&link))?.links.push(link);
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

/// What a plugin that adds a kind declares of it.
fn declaration(link: &Link) -> Declaration {
    let declared = link.mapping.declaration();
    let back = if link.mapping.to_virtual { declared.back } else { Vec::new() };
    Declaration { back, acts_for_others: link.plugin.may_act_for_others(), ..declared }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use weft_core::context::{Facts, Notes};
    use weft_core::extension::OnFailure;
    use weft_core::names::Names;
    use weft_core::object::{ResourceType, VirtualObject};
    use weft_core::offline::Offline;
    use weft_core::{kinds, translate};

    use crate::registry::descriptor::LookupPermission;
    use crate::registry::testing::{Double, cat, descriptor, mapping, plugin};

    const CAT: &str = "example.com/v1/Cat";
    const CONFIG_MAP: &str = "v1/ConfigMap";

    fn config_map() -> ResourceType {
        ResourceType::core("ConfigMap", "configmaps")
    }

    fn sources(plugins: impl IntoIterator<Item = Arc<dyn Plugin>>) -> Sources {
        let loaded = plugins.into_iter().map(|plugin| (plugin.name().to_owned(), plugin));
        Sources { loaded: loaded.collect(), ..Sources::default() }
    }

    /// The plugins in the order in which they have written, or the reason that the object is held.
    fn run(kind: &str, sources: &Sources) -> String {
        let recipes = recipes(&kinds::builtin(), sources).unwrap();
        let recipe = &recipes[&Kind::new(kind)];
        let mapper = recipe.mapper(recipe.base.as_ref().unwrap());
        let resource = mapper.spec().resource.clone();
        let object = json!({
            "apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {"name": "a", "namespace": "b"},
        });
        let (offline, notes) =
            (Offline::new(Names::new("vc", "team-a").unwrap(), Facts::default()), Notes::default());
        let object = VirtualObject::from_json(object).unwrap();
        match translate::to_host(&offline.ctx(None, &notes), mapper.as_ref(), &object) {
            Ok(object) => {
                object.into_json().pointer("/data/by").and_then(Value::as_str).unwrap_or("nobody").to_owned()
            }
            Err(hold) => hold.problem().reason.clone(),
        }
    }

    fn conflict(sources: &Sources) -> String {
        recipes(&kinds::builtin(), sources).err().unwrap().to_string()
    }

    #[test]
    fn plugins_run_in_the_order_of_their_numbers_and_then_of_their_names() {
        let mutate = |name: &str, order| plugin(name, mapping(config_map(), Role::Mutate(order)));
        let mut plugins = vec![mutate("c", 1), mutate("b", 2), mutate("a", 2)];
        assert_eq!(run(CONFIG_MAP, &sources(plugins.clone())), "c a b");
        plugins.push(plugin("z", mapping(config_map(), Role::Override)));
        assert_eq!(run(CONFIG_MAP, &sources(plugins)), "z c a b");
    }

    #[test]
    fn a_plugin_that_adds_a_kind_runs_before_those_that_mutate_it() {
        let plugins = [plugin("a", mapping(cat(), Role::Mutate(0))), plugin("b", mapping(cat(), Role::Add))];
        assert_eq!(run(CAT, &sources(plugins)), "b a");
    }

    #[test]
    fn a_kind_that_no_plugin_maps_has_the_built_in_rules() {
        let builtin = kinds::builtin();
        let recipes = recipes(&builtin, &Sources::default()).unwrap();
        assert_eq!(recipes.len(), builtin.len());
        for mapper in &builtin {
            let recipe = &recipes[&mapper.spec().resource.kind()];
            assert!(Arc::ptr_eq(mapper, &recipe.mapper(recipe.base.as_ref().unwrap())));
        }
    }

    #[test]
    fn a_kind_has_one_owner() {
        let add = |name: &str| plugin(name, mapping(cat(), Role::Add));
        let owners =
            |first: &str, second: &str| format!(" is mapped by {first} and by {second}, and only one can");
        let text = conflict(&sources([add("a"), add("b")]));
        assert!(text.starts_with(&(CAT.to_owned() + &owners("the plugin a", "the plugin b"))), "{text}");

        let builtin = plugin("a", mapping(config_map(), Role::Add));
        let text = conflict(&sources([builtin]));
        assert!(
            text.starts_with(&(CONFIG_MAP.to_owned() + &owners("weft itself", "the plugin a"))),
            "{text}"
        );

        let declared = vec![mapping(cat(), Role::Add).declaration()];
        for role in [Role::Add, Role::Override] {
            let loaded = sources([plugin("a", mapping(cat(), role))]);
            let text = conflict(&Sources { declared: declared.clone(), ..loaded });
            let owners = owners("`mappings` of the configuration", "the plugin a");
            assert!(text.starts_with(&(CAT.to_owned() + &owners)), "{text}");
        }
        let override_ = |name: &str| plugin(name, mapping(config_map(), Role::Override));
        let text = conflict(&sources([override_("a"), override_("b")]));
        assert!(
            text.starts_with(&(CONFIG_MAP.to_owned() + &owners("the plugin a", "the plugin b"))),
            "{text}"
        );
    }

    #[test]
    fn a_kind_that_nobody_maps_can_be_neither_overridden_nor_mutated() {
        for (role, word) in [(Role::Override, "override"), (Role::Mutate(7), "mutate(7)")] {
            let text = conflict(&sources([plugin("a", mapping(cat(), role))]));
            let expected =
                format!("the plugin a wants to {word} {CAT}, which nobody maps: let it add the kind");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_plural_that_is_not_the_kinds_is_refused() {
        let wrong = ResourceType::core("ConfigMap", "configs");
        let text = conflict(&sources([plugin("a", mapping(wrong, Role::Mutate(1)))]));
        let expected =
            "the plugin a declares plural \"configs\" for v1/ConfigMap; the API resource is \"configmaps\"";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_missing_plugin_stands_last_in_its_kinds_and_its_failure_policy_applies() {
        let mutate = plugin("a", mapping(config_map(), Role::Mutate(1)));
        for (on_failure, outcome) in [
            (OnFailure::Hold, "PluginNotLoaded"),
            (OnFailure::Deny, "PluginNotLoaded"),
            (OnFailure::Core, "a"),
        ] {
            let kinds = vec![CONFIG_MAP.to_owned(), CAT.to_owned()];
            let missing = vec![Missing { name: "gone".to_owned(), kinds, on_failure }];
            let sources = Sources { missing, ..sources([mutate.clone()]) };
            assert_eq!(run(CONFIG_MAP, &sources), outcome, "{on_failure:?}");
            let recipes = recipes(&kinds::builtin(), &sources).unwrap();
            assert!(!recipes.contains_key(&Kind::new(CAT)), "nothing is held of a kind that nobody maps");
        }
    }

    #[test]
    fn the_rules_of_a_kind_know_what_its_plugins_name_and_look_up() {
        let reference = weft_core::references::Reference {
            path: "/data/secret".to_owned(),
            kind: Kind::new("v1/Secret"),
            namespace_field: None,
        };
        let maps = Mapping { references: vec![reference.clone()], ..mapping(config_map(), Role::Mutate(1)) };
        let lookups = vec![LookupPermission {
            side: crate::config::grants::Side::Virtual,
            resource: cat(),
            fields: Vec::new(),
        }];
        let double = Double::new(
            crate::registry::descriptor::Descriptor { lookups, ..descriptor("a", vec![maps]) },
            false,
        );
        let recipes = recipes(&kinds::builtin(), &sources([Arc::new(double) as Arc<dyn Plugin>])).unwrap();
        let recipe = &recipes[&Kind::new(CONFIG_MAP)];
        let mapper = recipe.mapper(recipe.base.as_ref().unwrap());
        assert!(mapper.spec().references.contains(&reference) && mapper.spec().looks_up.contains(&cat()));
    }

    #[test]
    fn a_plugin_that_adds_a_kind_and_maps_one_way_lets_nothing_flow_back_by_declaration() {
        let one_way = mapping(cat(), Role::Add);
        let both_ways = Mapping { to_virtual: true, ..one_way.clone() };
        let declared =
            |mapping: Mapping| declaration(&Link { plugin: plugin("a", mapping.clone()), mapping });
        assert!(declared(one_way).back.is_empty());
        assert_eq!(declared(both_ways).back, ["/status"]);
    }

    #[test]
    fn the_operators_word_for_a_plugin_is_a_fact_about_the_kinds_that_it_adds() {
        let word = |may_act: bool| {
            let adding = Double::new(descriptor("a", vec![mapping(cat(), Role::Add)]), may_act);
            let recipes =
                recipes(&kinds::builtin(), &sources([Arc::new(adding) as Arc<dyn Plugin>])).unwrap();
            let recipe = &recipes[&Kind::new(CAT)];
            recipe.mapper(recipe.base.as_ref().unwrap()).spec().acts_for_others
        };
        assert!(word(true) && !word(false));
    }
}
