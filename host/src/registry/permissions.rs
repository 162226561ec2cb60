//! What a plugin requests, held against what the operator grants.

use std::collections::BTreeMap;

use weft_core::object::Kind;
use weft_core::well_known;

use crate::config::grants::{Entry, LookupGrant};
use crate::registry::descriptor::{Descriptor, Mapping, Role};

impl Descriptor {
    /// `entry` with just what this descriptor requests: for development.
    #[must_use]
    pub fn grant_all(&self, entry: Entry) -> Entry {
        let lookup = |kind: Kind, side| LookupGrant { kind: kind.to_string(), side };
        Entry {
            kinds: self.mappings.iter().map(|mapping| mapping.resource.kind().to_string()).collect(),
            writes: self.writes(),
            lookups: self.lookups.iter().map(|wanted| lookup(wanted.kind(), wanted.side)).collect(),
            install_definitions: self.mappings.iter().any(|mapping| mapping.installs_definition),
            ..entry
        }
    }

    /// Whether it maps a kind whose objects act for others on the host.
    pub fn acts_for_others(&self) -> bool {
        self.mappings.iter().any(|mapping| well_known::acts_for_others(&mapping.resource))
    }

    /// What this descriptor's mappings write, by kind, beside what every mapping may.
    fn writes(&self) -> BTreeMap<String, Vec<String>> {
        let of = |mapping: &Mapping| (mapping.resource.kind().to_string(), mapping.writes());
        self.mappings.iter().map(of).filter(|(_, paths)| !paths.is_empty()).collect()
    }

    /// What it writes and `entry` does not grant.
    fn missing_writes(&self, entry: &Entry) -> Vec<String> {
        let mut missing = Vec::new();
        for (kind, paths) in self.writes() {
            let granted = entry.writes.get(&kind).map(Vec::as_slice).unwrap_or_default();
            let lacking = paths.into_iter().filter(|path| !granted.iter().any(|place| is_in(path, place)));
            missing.extend(
                lacking.map(|path| format!("write {path} of {kind}: add `{kind}: [{path}]` to `writes`")),
            );
        }
        missing
    }

    /// `entry`; where it names no `kinds`, with all that this descriptor requests.
    #[must_use]
    pub fn grant_unless_explicit(&self, entry: Entry) -> Entry {
        if entry.kinds.is_empty() { self.grant_all(entry) } else { entry }
    }

    /// What this descriptor requests and `entry` does not grant, each as a line that says what to add.
    pub fn missing_grants(&self, entry: &Entry) -> Vec<String> {
        let has_kind = |kind: &Kind| entry.kinds.iter().any(|granted| granted == kind.as_str());
        // A typo in what is granted shows only beside what is requested.
        let granted = if entry.kinds.is_empty() {
            String::new()
        } else {
            format!(" beside {}", entry.kinds.join(", "))
        };
        let mut missing = Vec::new();
        for mapping in &self.mappings {
            let kind = mapping.resource.kind();
            if !has_kind(&kind) {
                missing.push(format!("map {kind} ({}): add it to `kinds`{granted}", mapping.role));
            }
            if well_known::acts_for_others(&mapping.resource) && !entry.acts_for_others {
                let why = "whose objects act for others on the host: set `actsForOthers: true`";
                missing.push(format!("map {kind}, {why}"));
            }
            if mapping.installs_definition && !entry.install_definitions {
                missing.push(format!("install the definition of {kind}: set `installDefinitions: true`"));
            }
        }
        for lookup in &self.lookups {
            let (kind, side) = (lookup.kind(), lookup.side);
            let is_granted = |grant: &LookupGrant| grant.kind == kind.as_str() && grant.side == side;
            if !entry.lookups.iter().any(is_granted) {
                missing.push(format!(
                    "look up {kind} ({side}): add {{kind: {kind}, side: {side}}} to `lookups`"
                ));
            }
        }
        missing.extend(self.missing_writes(entry));
        missing
    }
}

impl Mapping {
    /// What it writes on the host, by an edit or by a way around: what it writes into the tenant's object comes to the host
    /// with the next translation, and where it says that a name is, a host name is put. Who adds a kind describes it by that.
    fn writes(&self) -> Vec<String> {
        let edited = self.host_writes.iter().filter(|_| self.to_host);
        let sent_back = self.virtual_writes.iter().filter(|path| !is_in(path, "/status"));
        let named = self.references.iter().map(|reference| &reference.path);
        let renamed = named.filter(|path| self.role != Role::Add && !is_in(path, "/metadata/annotations"));
        let mut writes = Vec::new();
        for path in edited.chain(sent_back).chain(renamed) {
            if !writes.contains(path) {
                writes.push(path.clone());
            }
        }
        writes
    }
}

/// Whether `path` is `place` or leads to something in it.
fn is_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::object::ResourceType;
    use weft_core::references::Reference;

    use crate::config::grants::Side;
    use crate::registry::descriptor::LookupPermission;
    use crate::registry::testing::mapping;

    fn descriptor() -> Descriptor {
        let config_map = mapping(ResourceType::core("ConfigMap", "configmaps"), Role::Mutate(5));
        let config_map = Mapping { installs_definition: true, ..config_map };
        let lookup = LookupPermission {
            side: Side::Host,
            resource: ResourceType::core("Secret", "secrets"),
            fields: Vec::new(),
        };
        let descriptor = crate::registry::testing::descriptor("p", vec![config_map]);
        Descriptor { lookups: vec![lookup], ..descriptor }
    }

    #[test]
    fn what_is_requested_and_not_granted_is_named_with_what_to_add() {
        let missing =
            descriptor().missing_grants(&Entry { kinds: vec!["v1/Pod".to_owned()], ..Entry::default() });
        assert_eq!(
            missing,
            [
                "map v1/ConfigMap (mutate(5)): add it to `kinds` beside v1/Pod",
                "install the definition of v1/ConfigMap: set `installDefinitions: true`",
                "look up v1/Secret (host): add {kind: v1/Secret, side: host} to `lookups`",
                "write /data of v1/ConfigMap: add `v1/ConfigMap: [/data]` to `writes`",
            ]
        );
    }

    #[test]
    fn an_entry_that_grants_all_lacks_nothing_and_explicit_kinds_stay() {
        let descriptor = descriptor();
        let granted = descriptor.grant_unless_explicit(Entry::default());
        assert_eq!(descriptor.missing_grants(&granted), Vec::<String>::new());
        let explicit = Entry { kinds: vec!["v1/Pod".to_owned()], ..Entry::default() };
        assert_eq!(descriptor.grant_unless_explicit(explicit.clone()), explicit);
    }

    #[test]
    fn nothing_is_written_that_is_not_granted() {
        let descriptor = descriptor();
        let lacking = |paths: &[&str]| {
            let mut entry = descriptor.grant_all(Entry::default());
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            entry.writes = BTreeMap::from([("v1/ConfigMap".to_owned(), paths)]);
            descriptor.missing_grants(&entry)
        };
        let missing = "write /data of v1/ConfigMap: add `v1/ConfigMap: [/data]` to `writes`";
        assert_eq!(lacking(&["/data"]), Vec::<String>::new());
        for other in [&["/dat"][..], &["/data/a"], &[]] {
            assert_eq!(lacking(other), [missing], "{other:?}");
        }
        let none = Entry { writes: BTreeMap::new(), ..descriptor.grant_all(Entry::default()) };
        assert_eq!(descriptor.missing_grants(&none), [missing]);
    }

    #[test]
    fn what_reaches_the_host_by_a_way_around_is_granted_like_an_edit() {
        let config_map = || ResourceType::core("ConfigMap", "configmaps");
        let lacking = |mapping: Mapping| {
            let descriptor = crate::registry::testing::descriptor("p", vec![mapping]);
            let entry = Entry { writes: BTreeMap::new(), ..descriptor.grant_all(Entry::default()) };
            let missing = descriptor.missing_grants(&entry);
            assert!(descriptor.missing_grants(&descriptor.grant_all(entry)).is_empty());
            missing
        };
        let missing =
            |path| vec![format!("write {path} of v1/ConfigMap: add `v1/ConfigMap: [{path}]` to `writes`")];
        let writing = |role| Mapping { host_writes: Vec::new(), ..mapping(config_map(), role) };
        let back = |path: &str| {
            lacking(Mapping {
                virtual_writes: vec![path.to_owned()],
                to_virtual: true,
                ..writing(Role::Mutate(1))
            })
        };
        assert_eq!(back("/data"), missing("/data"));
        assert_eq!(back("/statuses"), missing("/statuses"));
        assert!(back("/status").is_empty() && back("/status/a").is_empty());
        let naming = |role, path: &str| {
            lacking(Mapping { references: vec![Reference::new(path, "v1/Secret")], ..writing(role) })
        };
        assert_eq!(naming(Role::Mutate(1), "/data/*"), missing("/data/*"));
        assert_eq!(naming(Role::Override, "/data/*"), missing("/data/*"));
        assert!(naming(Role::Mutate(1), "/metadata/annotations/a.org~1secret").is_empty());
        assert!(naming(Role::Add, "/data/*").is_empty());
        // What is not called for the host edits nothing there.
        assert!(
            lacking(Mapping { to_host: false, to_virtual: true, ..mapping(config_map(), Role::Add) })
                .is_empty()
        );
    }

    #[test]
    fn a_kind_that_acts_for_others_needs_the_operators_word_also_in_development() {
        let lease =
            ResourceType { group: "coordination.k8s.io".into(), ..ResourceType::core("Lease", "leases") };
        let descriptor = crate::registry::testing::descriptor("p", vec![mapping(lease, Role::Add)]);
        let entry = descriptor.grant_all(Entry::default());
        assert_eq!(descriptor.missing_grants(&entry).len(), 1);
        assert!(descriptor.missing_grants(&Entry { acts_for_others: true, ..entry }).is_empty());
    }

    #[test]
    fn a_grant_for_one_side_is_none_for_the_other() {
        let descriptor = descriptor();
        let mut granted = descriptor.grant_all(Entry::default());
        for lookup in &mut granted.lookups {
            lookup.side = Side::Virtual;
        }
        assert_eq!(descriptor.missing_grants(&granted).len(), 1);
    }
}
