//! Which permissions a configuration needs on the host, as RBAC rules.
//!
//! Derived from the kinds that are synced and from how the engine writes them; the tests of weft run under these rules
//! and check that none is unused. `weft init` needs no more: Secrets and Services are among the kinds.

mod plural;
mod render;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use weft_core::declared::Declaration;
use weft_core::kinds;
use weft_core::object::{Kind, ResourceType};

use crate::config::grants::Entry;
use crate::config::{Config, Grants};
use crate::registry::SYNCED;
use crate::registry::descriptor::Descriptor;
pub use render::{json, yaml};

/// One rule of a Role or of its cluster-wide kin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// API groups; the core group is empty.
    pub api_groups: Vec<String>,
    /// Plural names, with a slash before a subresource.
    pub resources: Vec<String>,
    /// Names of objects; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// What may be done.
    pub verbs: Vec<String>,
    /// Why it is needed, for people.
    #[serde(skip)]
    pub reason: String,
}

/// What a syncer needs on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// In the namespace of the virtual cluster.
    pub namespaced: Vec<Rule>,
    /// About the whole host; empty unless the configuration has a feature that needs it.
    pub cluster: Vec<Rule>,
}

/// What a configuration needs with plugins of these descriptors. A plugin without one is taken by the kinds that the
/// configuration grants it, with plurals that are guessed.
pub fn of(config: &Config, descriptors: &[&Descriptor]) -> Permissions {
    let mut kinds = Wanted::default();
    for declared in &config.mappings {
        kinds.add_declared(&declared.declaration());
    }
    for (entry, descriptor) in entries(config, descriptors) {
        kinds.add_plugin(&entry, descriptor);
    }
    let mut namespaced = builtin();
    namespaced.push(events());
    if config.kubelet_tls().is_some() {
        namespaced.extend(streams());
        namespaced.extend(config.kubelet.metrics.enabled.then(usage));
    }
    namespaced.extend(kinds.groups.into_iter().filter_map(|(group, plurals)| added(&group, plurals)));
    Permissions {
        namespaced,
        cluster: definitions(kinds.definitions).into_iter().chain(nodes(config)).collect(),
    }
}

/// What one plugin with this entry adds to them.
pub fn added_by(entry: &Entry, descriptor: &Descriptor) -> Permissions {
    let mut kinds = Wanted::default();
    kinds.add_plugin(entry, Some(descriptor));
    let namespaced = kinds.groups.into_iter().filter_map(|(group, plurals)| added(&group, plurals));
    Permissions {
        namespaced: namespaced.collect(),
        cluster: definitions(kinds.definitions).into_iter().collect(),
    }
}

/// Kinds beside the built-in ones.
#[derive(Default)]
struct Wanted {
    /// Plurals, by API group; those of kinds whose plural is guessed are marked.
    groups: BTreeMap<String, BTreeMap<String, bool>>,
    /// Names of definitions that are copied from the host.
    definitions: BTreeSet<String>,
}

impl Wanted {
    fn add_declared(&mut self, declaration: &Declaration) {
        self.add(&declaration.resource, false);
        if declaration.installs_definition {
            self.add_definition(&declaration.resource);
        }
    }

    fn add_plugin(&mut self, entry: &Entry, descriptor: Option<&Descriptor>) {
        let mappings = descriptor.into_iter().flat_map(|descriptor| &descriptor.mappings);
        for kind in &entry.kinds {
            let mapping = mappings.clone().find(|mapping| mapping.resource.kind() == Kind::new(kind));
            let guess = || plural::guess(kind);
            let Some(resource) = mapping.map(|mapping| mapping.resource.clone()).or_else(guess) else {
                continue;
            };
            self.add(&resource, mapping.is_none());
            // Without a descriptor it is not known which kinds it asks for.
            if entry.install_definitions && mapping.is_none_or(|mapping| mapping.installs_definition) {
                self.add_definition(&resource);
            }
        }
    }

    fn add(&mut self, resource: &ResourceType, is_guessed: bool) {
        let is_it = |known: &ResourceType| known.group == resource.group && known.plural == resource.plural;
        if !kinds::builtin().iter().any(|mapper| is_it(&mapper.spec().resource)) {
            let plurals = self.groups.entry(resource.group.to_string()).or_default();
            let guessed = plurals.entry(resource.plural.to_string()).or_insert(is_guessed);
            *guessed &= is_guessed;
        }
    }

    fn add_definition(&mut self, resource: &ResourceType) {
        // Kinds of the core group have no definition.
        if !resource.group.is_empty() {
            self.definitions.insert(format!("{}.{}", resource.plural, resource.group));
        }
    }
}

/// The plugins that may run, each with what it is granted.
fn entries<'a>(config: &Config, descriptors: &[&'a Descriptor]) -> Vec<(Entry, Option<&'a Descriptor>)> {
    let plugins = &config.plugins;
    let found = descriptors.iter().map(|descriptor| descriptor.name.clone());
    let names: BTreeSet<String> = plugins.load.keys().cloned().chain(found).collect();
    let with_descriptor = |name: String| {
        let entry = plugins.entry(&name).filter(|entry| entry.enabled)?;
        let descriptor = descriptors.iter().copied().find(|descriptor| descriptor.name == name);
        Some(match descriptor {
            Some(descriptor) if plugins.grants == Grants::Requested => {
                (descriptor.grant_unless_explicit(entry), Some(descriptor))
            }
            _ => (entry, descriptor),
        })
    };
    names.into_iter().filter_map(with_descriptor).collect()
}

/// The rules for the built-in kinds: one for each API group, and one for the subresources that are patched.
fn builtin() -> Vec<Rule> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut subresources: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mapper in kinds::builtin() {
        let spec = mapper.spec();
        let (group, plural) = (spec.resource.group.to_string(), spec.resource.plural.to_string());
        for subresource in &spec.host_subresources {
            let name = format!("{plural}/{subresource}");
            subresources.entry(group.clone()).or_default().insert(name);
        }
        groups.entry(group).or_default().insert(plural);
    }
    let synced = groups.into_iter().map(|(group, plurals)| {
        rule(
            &group,
            plurals,
            &SYNCED,
            "built-in kinds, tokens of pods, and the Service of the virtual API server",
        )
    });
    let patched = subresources
        .into_iter()
        .map(|(group, names)| rule(&group, names, &["patch"], "fields that only a subresource can change"));
    synced.chain(patched).collect()
}

/// The host's events are mirrored; those about plugins, and about the virtual cluster itself, are recorded on the host.
fn events() -> Rule {
    let reason = "events of the host for the tenant, and events for the operator";
    rule("", ["events".to_owned()], &["create", "list", "watch"], reason)
}

/// What stands behind the kubelet's endpoint. Upgrades are asked for by GET or by POST, and since Kubernetes 1.35 either
/// way needs `create` (<https://kubernetes.io/docs/reference/access-authn-authz/authorization/>).
fn streams() -> [Rule; 2] {
    let names = ["attach", "exec", "portforward"].map(|stream| format!("pods/{stream}"));
    [
        rule("", ["pods/log".to_owned()], &["get"], "`kubectl logs` in the virtual cluster"),
        rule(
            "",
            names,
            &["create", "get"],
            "`kubectl exec`, `attach`, `cp` and `port-forward` in the virtual cluster",
        ),
    ]
}

/// What mirrored nodes are made from.
fn nodes(config: &Config) -> impl Iterator<Item = Rule> {
    let read = |resource: &str, reason| rule("", [resource.to_owned()], &["list", "watch"], reason);
    let settings = &config.nodes;
    let nodes = settings.are_mirrored().then(|| read("nodes", "`nodes.mode: mirrored`"));
    let others = "`nodes.netAllocatable`: what pods of others request; the syncer keeps nothing else of them";
    nodes.into_iter().chain(settings.net_allocatable.then(|| read("pods", others)))
}

/// What stands behind the kubelet's metrics.
fn usage() -> Rule {
    rule(
        "metrics.k8s.io",
        ["pods".to_owned()],
        &["list"],
        "`kubelet.metrics`: `kubectl top` in the virtual cluster",
    )
}

fn added(group: &str, plurals: BTreeMap<String, bool>) -> Option<Rule> {
    let guessed: Vec<&str> =
        plurals.iter().filter(|(_, is_guessed)| **is_guessed).map(|(plural, _)| plural.as_str()).collect();
    let mut reason = "kinds that `mappings` and `plugins` add".to_owned();
    if !guessed.is_empty() {
        reason =
            format!("{reason}; guessed from the kind, as the plugin is not here: {}", guessed.join(", "));
    }
    (!plurals.is_empty()).then(|| rule(group, plurals.into_keys(), &SYNCED, &reason))
}

fn definitions(names: BTreeSet<String>) -> Option<Rule> {
    let reason = "definitions that are installed in the virtual cluster: `installDefinition` of a mapping, \
                  `installDefinitions` of a plugin";
    let all = rule("apiextensions.k8s.io", ["customresourcedefinitions".to_owned()], &["get"], reason);
    (!names.is_empty()).then(|| Rule { resource_names: names.into_iter().collect(), ..all })
}

fn rule(group: &str, resources: impl IntoIterator<Item = String>, verbs: &[&str], reason: &str) -> Rule {
    Rule {
        api_groups: vec![group.to_owned()],
        resources: resources.into_iter().collect(),
        resource_names: Vec::new(),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    use crate::config::testing::config;
    use crate::registry::descriptor::Role;
    use crate::registry::testing::{descriptor, mapping};

    /// Each rule as `group: resources [names] verbs`.
    fn lines(rules: &[Rule]) -> Vec<String> {
        let line = |rule: &Rule| {
            let [group] = &rule.api_groups[..] else { panic!("one group a rule") };
            let names = if rule.resource_names.is_empty() {
                String::new()
            } else {
                format!(" {:?}", rule.resource_names)
            };
            format!("{group}: {}{names}: {}", rule.resources.join(" "), rule.verbs.join(" "))
        };
        rules.iter().map(line).collect()
    }

    const ALL: &str = "create delete get list patch watch";

    fn issuers() -> ResourceType {
        ResourceType { group: "cert-manager.io".into(), ..ResourceType::core("ClusterThing", "irregulars") }
    }

    #[test]
    fn a_plugin_adds_the_kinds_that_are_not_built_in() {
        let descriptor = descriptor(
            "certs",
            vec![mapping(ResourceType::core("Pod", "pods"), Role::Mutate(1)), mapping(issuers(), Role::Add)],
        );
        let kinds = json!(["v1/Pod", "cert-manager.io/v1/ClusterThing"]);
        let entry: Entry = serde_json::from_value(json!({"kinds": kinds})).unwrap();
        let added = added_by(&entry, &descriptor);
        assert_eq!(lines(&added.namespaced), [format!("cert-manager.io: irregulars: {ALL}")]);
        assert!(added.cluster.is_empty());
    }

    #[test]
    fn the_default_is_the_built_in_kinds_and_the_hosts_events_and_nothing_cluster_wide() {
        let permissions = of(&config(&json!({})), &[]);
        let wanted = [
            format!(": configmaps endpoints persistentvolumeclaims pods secrets services: {ALL}"),
            format!("discovery.k8s.io: endpointslices: {ALL}"),
            ": pods/ephemeralcontainers pods/resize pods/status: patch".to_owned(),
            ": events: create list watch".to_owned(),
        ];
        assert_eq!(lines(&permissions.namespaced), wanted);
        assert!(permissions.cluster.is_empty());
    }

    #[test]
    fn streams_are_opened_only_where_the_kubelet_is_served() {
        let of = |rest: Value| lines(&of(&config(&rest), &[]).namespaced);
        let wanted = [": pods/log: get", ": pods/attach pods/exec pods/portforward: create get"];
        assert_eq!(of(json!({"controlPlane": {}}))[4..], wanted);
        let read = of(json!({"controlPlane": {}, "kubelet": {"metrics": {"enabled": true}}}));
        assert_eq!(read[6..], ["metrics.k8s.io: pods: list"]);
        let off = json!({"enabled": false, "metrics": {"enabled": true}});
        let off = of(json!({"controlPlane": {}, "kubelet": off}));
        assert_eq!(off, of(json!({})), "{off:?}");
    }

    #[test]
    fn nodes_of_the_host_are_read_only_where_they_are_mirrored_and_pods_of_others_only_for_their_requests() {
        let of = |nodes: Value| lines(&of(&config(&json!({"nodes": nodes})), &[]).cluster);
        assert_eq!(of(json!({"selector": {"pool": "a"}})), Vec::<String>::new());
        assert_eq!(of(json!({"mode": "mirrored"})), [": nodes: list watch"]);
        let net = of(json!({"mode": "mirrored", "netAllocatable": true}));
        assert_eq!(net, [": nodes: list watch", ": pods: list watch"]);
    }

    #[test]
    fn declared_kinds_are_added_once_and_their_definitions_are_read_by_name() {
        let mapping = |version: &str| json!({"apiVersion": format!("example.com/{version}"), "kind": "Cat", "plural": "cats", "installDefinition": true});
        let pods = json!({"apiVersion": "v1", "kind": "Pod", "plural": "pods"});
        let permissions = of(&config(&json!({"mappings": [mapping("v1"), mapping("v2"), pods]})), &[]);
        assert_eq!(lines(&permissions.namespaced)[4..], [format!("example.com: cats: {ALL}")]);
        let read = "apiextensions.k8s.io: customresourcedefinitions [\"cats.example.com\"]: get";
        assert_eq!(lines(&permissions.cluster), [read]);
    }

    #[test]
    fn a_plugin_adds_the_kinds_it_is_granted_by_its_own_plural_or_by_a_guess() {
        let thing = descriptor("thing", vec![mapping(issuers(), Role::Add)]);
        let load = json!({
            "thing": {"kinds": ["cert-manager.io/v1/ClusterThing", "v1/Pod"]},
            "absent": {"kinds": ["gateway.networking.k8s.io/v1/Gateway"], "installDefinitions": true},
            "off": {"enabled": false, "kinds": ["example.com/v1/Cat"]},
        });
        let config = config(&json!({"plugins": {"folder": "/plugins", "load": load}}));
        let permissions = of(&config, &[&thing]);
        let wanted = [
            ": events: create list watch".to_owned(),
            format!("cert-manager.io: irregulars: {ALL}"),
            format!("gateway.networking.k8s.io: gateways: {ALL}"),
        ];
        assert_eq!(lines(&permissions.namespaced)[3..], wanted);
        let last = permissions.namespaced.last().unwrap();
        assert!(
            last.reason.contains("guessed from the kind, as the plugin is not here: gateways"),
            "{last:?}"
        );
        assert_eq!(permissions.cluster[0].resource_names, ["gateways.gateway.networking.k8s.io"]);
    }

    #[test]
    fn in_development_a_plugin_adds_what_it_requests_and_without_an_entry_otherwise_nothing() {
        let thing = descriptor("thing", vec![mapping(issuers(), Role::Add)]);
        let with = |grants: &str| {
            let config = config(&json!({"plugins": {"folder": "/plugins", "grants": grants}}));
            lines(&of(&config, &[&thing]).namespaced)[4..].to_vec()
        };
        assert_eq!(with("requested"), [format!("cert-manager.io: irregulars: {ALL}")]);
        assert_eq!(with("explicit"), Vec::<String>::new());
    }
}
