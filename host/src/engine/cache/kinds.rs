//! Which kinds are synced and looked up, and by which rules: one snapshot, which is replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use weft_core::mapper::Mapper;
use weft_core::names::Names;
use weft_core::object::{Host, Key, Kind, ResourceType, Virtual};

use crate::engine::cache::content::Content;
use crate::engine::cache::store::Store;
use crate::engine::cache::version::Epochs;
use crate::registry::Rules;

/// The stores and rules of one kind.
pub(crate) struct SyncedKind {
    pub(crate) mapper: Arc<dyn Mapper>,
    pub(crate) r#virtual: Arc<Store<Virtual>>,
    pub(crate) host: Arc<Store<Host>>,
    /// How much the virtual store has of each object.
    pub(crate) content: Content,
    /// Rules that take long run on so many threads at once.
    pub(crate) threads: Arc<Semaphore>,
    /// Keys that came out of the queue before both stores were complete.
    early: Arc<Mutex<BTreeSet<Key>>>,
}

/// The virtual objects of a kind that is looked up and not synced.
pub(crate) struct LookedUp {
    pub(crate) resource: ResourceType,
    pub(crate) store: Arc<Store<Virtual>>,
}

/// Every kind there is.
#[derive(Default)]
pub(crate) struct Kinds {
    synced: BTreeMap<Kind, Arc<SyncedKind>>,
    looked_up: BTreeMap<Kind, Arc<LookedUp>>,
}

/// How one snapshot differs from the one before.
#[derive(Default)]
pub(crate) struct Difference {
    /// Synced now, with new stores.
    pub(crate) added: Vec<Kind>,
    /// Synced by other rules, with the stores there were.
    pub(crate) replaced: Vec<Kind>,
    /// No longer synced, with the rules there were.
    pub(crate) removed: Vec<(Kind, Arc<SyncedKind>)>,
    /// Looked up now.
    pub(crate) looked_up: Vec<Kind>,
    /// No longer looked up.
    pub(crate) not_looked_up: Vec<Kind>,
}

impl Kinds {
    /// The snapshot under `rules`, which keeps the stores of this one, and how it differs. Rules that take long
    /// get `threads` threads each.
    pub(crate) fn under(&self, rules: &Rules, threads: usize) -> (Self, Difference) {
        let mut difference = Difference::default();
        let mut synced = BTreeMap::new();
        for mapper in &rules.mappers {
            let kind = mapper.spec().resource.kind();
            let content = Content::needed(mapper.spec(), &rules.mappers);
            let under = self.synced_under(mapper, &kind, content, threads, &mut difference);
            synced.insert(kind, under);
        }
        let gone =
            |kind: &Kind, old: &SyncedKind| !synced.get(kind).is_some_and(|new| new.has_stores_of(old));
        let removed = self.synced.iter().filter(|(kind, old)| gone(kind, old));
        difference.removed = removed.map(|(kind, old)| (kind.clone(), old.clone())).collect();
        let looked_up = self.looked_up_beside(&synced, &mut difference);
        (Self { synced, looked_up }, difference)
    }

    fn synced_under(
        &self,
        mapper: &Arc<dyn Mapper>,
        kind: &Kind,
        content: Content,
        threads: usize,
        difference: &mut Difference,
    ) -> Arc<SyncedKind> {
        match self.synced.get(kind).filter(|old| old.content.serves(content)) {
            Some(old) if Arc::ptr_eq(&old.mapper, mapper) => old.clone(),
            Some(old) if old.mapper.spec().resource == mapper.spec().resource => {
                difference.replaced.push(kind.clone());
                Arc::new(old.under(mapper.clone(), threads))
            }
            _ => {
                difference.added.push(kind.clone());
                Arc::new(SyncedKind::new(mapper.clone(), content, threads))
            }
        }
    }

    /// What the rules of `synced` look up beside the kinds that are synced.
    fn looked_up_beside(
        &self,
        synced: &BTreeMap<Kind, Arc<SyncedKind>>,
        difference: &mut Difference,
    ) -> BTreeMap<Kind, Arc<LookedUp>> {
        let mut looked_up = BTreeMap::new();
        for resource in synced.values().flat_map(|kind| &kind.mapper.spec().looks_up) {
            let kind = resource.kind();
            if synced.contains_key(&kind) || looked_up.contains_key(&kind) {
                continue;
            }
            let same = self.looked_up.get(&kind).filter(|old| old.resource == *resource);
            let new = || {
                difference.looked_up.push(kind.clone());
                Arc::new(LookedUp { resource: resource.clone(), store: Arc::default() })
            };
            let found = same.cloned().unwrap_or_else(new);
            looked_up.insert(kind, found);
        }
        let stays = |(kind, old): &(&Kind, &Arc<LookedUp>)| {
            looked_up.get(*kind).is_some_and(|found: &Arc<LookedUp>| Arc::ptr_eq(found, old))
        };
        let gone = self.looked_up.iter().filter(|entry| !stays(entry));
        difference.not_looked_up = gone.map(|(kind, _)| kind.clone()).collect();
        looked_up
    }

    /// The stores and rules of a kind, if it is synced.
    pub(crate) fn synced(&self, kind: &Kind) -> Option<&Arc<SyncedKind>> {
        self.synced.get(kind)
    }

    /// Every kind that is synced.
    pub(crate) fn each_synced(&self) -> impl Iterator<Item = (&Kind, &Arc<SyncedKind>)> {
        self.synced.iter()
    }

    /// A kind that is looked up and not synced.
    pub(crate) fn looked_up(&self, kind: &Kind) -> Option<&Arc<LookedUp>> {
        self.looked_up.get(kind)
    }

    /// The virtual objects of a kind that is synced or looked up.
    pub(crate) fn virtual_store(&self, kind: &Kind) -> Option<&Arc<Store<Virtual>>> {
        let synced = self.synced.get(kind).map(|kind| &kind.r#virtual);
        synced.or_else(|| self.looked_up.get(kind).map(|looked_up| &looked_up.store))
    }

    /// Whether every complete list was begun in this epoch of its server.
    pub(crate) fn is_current(&self, Epochs { host, r#virtual }: Epochs) -> bool {
        self.synced.values().all(|kind| kind.r#virtual.is_current(r#virtual) && kind.host.is_current(host))
            && self.looked_up.values().all(|kind| kind.store.is_current(r#virtual))
    }

    /// Packs what was not read lately.
    pub(crate) fn pack_older(&self) {
        for kind in self.synced.values() {
            kind.r#virtual.pack_older();
            kind.host.pack_older();
        }
        self.looked_up.values().for_each(|looked_up| looked_up.store.pack_older());
    }
}

impl SyncedKind {
    fn new(mapper: Arc<dyn Mapper>, content: Content, threads: usize) -> Self {
        Self {
            mapper,
            r#virtual: Arc::default(),
            host: Arc::default(),
            content,
            threads: Arc::new(Semaphore::new(threads)),
            early: Arc::default(),
        }
    }

    /// The same objects under other rules, which do not wait for the threads of the old ones.
    fn under(&self, mapper: Arc<dyn Mapper>, threads: usize) -> Self {
        Self {
            mapper,
            r#virtual: self.r#virtual.clone(),
            host: self.host.clone(),
            content: self.content,
            threads: Arc::new(Semaphore::new(threads)),
            early: self.early.clone(),
        }
    }

    fn has_stores_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.r#virtual, &other.r#virtual)
    }

    /// Whether both stores have their first complete list.
    pub(crate) fn is_synced(&self) -> bool {
        self.r#virtual.is_synced() && self.host.is_synced()
    }

    /// Whether `key` can be reconciled; if not, [`Self::take_early`] returns it once it can. A virtual object of which nothing
    /// could be read is no sign of anything until it changes.
    pub(crate) fn is_ready_for(&self, key: &Key, names: &Names) -> bool {
        if self.is_synced() {
            return !self.r#virtual.is_unread(&key.name.namespace, &key.name.name);
        }
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        // What no store has yet is queued when one gets it, and a kind that the host lacks may wait for ever.
        if self.has_object(key, names) {
            early.insert(key.clone());
        } else {
            early.remove(key);
        }
        // The last list may have become complete meanwhile, and found nothing here.
        let is_ready = self.is_synced();
        if is_ready {
            early.remove(key);
        }
        is_ready
    }

    /// Whether there is an object on either side.
    fn has_object(&self, key: &Key, names: &Names) -> bool {
        self.r#virtual.contains(&key.name.namespace, &key.name.name)
            || self.host.contains(names.namespace(), names.host_name(&key.name).as_str())
    }

    /// The keys that came out of the queue too early, once both stores are complete.
    pub(crate) fn take_early(&self) -> BTreeSet<Key> {
        if !self.is_synced() {
            return BTreeSet::new();
        }
        std::mem::take(&mut *self.early.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weft_core::object::{Object, VirtualName};
    use weft_core::spec::KindSpec;

    use crate::engine::cache::store::Absence;
    use crate::engine::cache::version::ResourceVersion;
    use crate::engine::testing::Plain;

    fn resource(kind: &'static str) -> ResourceType {
        ResourceType::core(kind, "plural")
    }

    fn mapper(kind: &'static str, looks_up: &[&'static str]) -> Arc<dyn Mapper> {
        let looks_up = looks_up.iter().map(|kind| resource(kind)).collect();
        Arc::new(Plain(KindSpec { looks_up, ..KindSpec::new(resource(kind)) }))
    }

    fn rules(mappers: &[&Arc<dyn Mapper>]) -> Rules {
        Rules { mappers: mappers.iter().map(|mapper| Arc::clone(mapper)).collect(), ..Rules::default() }
    }

    /// Added, replaced, removed, looked up, not looked up.
    fn summary(difference: &Difference) -> [String; 5] {
        let text = |kinds: Vec<&Kind>| kinds.iter().map(|kind| kind.short()).collect::<Vec<_>>().join(" ");
        [
            text(difference.added.iter().collect()),
            text(difference.replaced.iter().collect()),
            text(difference.removed.iter().map(|(kind, _)| kind).collect()),
            text(difference.looked_up.iter().collect()),
            text(difference.not_looked_up.iter().collect()),
        ]
    }

    #[test]
    fn what_stays_the_same_is_not_touched() {
        let (one, two) = (mapper("One", &[]), mapper("Two", &[]));
        let (first, difference) = Kinds::default().under(&rules(&[&one, &two]), 1);
        assert_eq!(summary(&difference), ["One Two", "", "", "", ""]);
        let (second, difference) = first.under(&rules(&[&two, &one]), 1);
        assert_eq!(summary(&difference), ["", "", "", "", ""]);
        let same =
            |kind: &str| [&first, &second].map(|kinds| kinds.synced(&Kind::new(kind)).unwrap().clone());
        let [before, after] = same("v1/One");
        assert!(Arc::ptr_eq(&before, &after));
    }

    #[test]
    fn other_rules_for_a_kind_keep_its_stores() {
        let (first, _) = Kinds::default().under(&rules(&[&mapper("One", &[])]), 1);
        let (second, difference) = first.under(&rules(&[&mapper("One", &[])]), 1);
        assert_eq!(summary(&difference), ["", "One", "", "", ""]);
        let store = |kinds: &Kinds| kinds.synced(&Kind::new("v1/One")).unwrap().host.clone();
        assert!(Arc::ptr_eq(&store(&first), &store(&second)));
    }

    #[test]
    fn a_kind_that_is_served_elsewhere_begins_anew() {
        let moved =
            Arc::new(Plain(KindSpec::new(ResourceType { plural: "others".into(), ..resource("One") })));
        let (first, _) = Kinds::default().under(&rules(&[&mapper("One", &[])]), 1);
        let (_, difference) = first.under(&Rules { mappers: vec![moved], ..Rules::default() }, 1);
        assert_eq!(summary(&difference), ["One", "", "One", "", ""]);
    }

    #[test]
    fn a_kind_whose_content_is_needed_now_begins_anew_and_keeps_it() {
        let used = |references| {
            let spec = KindSpec { references, ..KindSpec::new(resource("Two")).used() };
            Arc::new(Plain(spec)) as Arc<dyn Mapper>
        };
        let (alone, other, reader) = (used(Vec::new()), mapper("One", &[]), mapper("One", &["Two"]));
        let content = |kinds: &Kinds| kinds.synced(&Kind::new("v1/Two")).unwrap().content;
        let (first, _) = Kinds::default().under(&rules(&[&alone, &other]), 1);
        assert_eq!(content(&first), Content::Metadata);
        let (second, difference) = first.under(&rules(&[&alone, &reader]), 1);
        assert_eq!(summary(&difference), ["Two", "One", "Two", "", ""], "a rule looks it up");
        assert_eq!(content(&second), Content::Whole);
        let (third, difference) = second.under(&rules(&[&alone, &other]), 1);
        assert_eq!((summary(&difference)[0].as_str(), content(&third)), ("", Content::Whole));
        for needy in [
            mapper("Two", &[]),
            used(vec![weft_core::references::Reference::new("/spec/secret", "v1/Secret")]),
        ] {
            let (next, difference) = first.under(&rules(&[&needy, &other]), 1);
            assert_eq!(
                summary(&difference),
                ["Two", "", "Two", "", ""],
                "all are synced, or it names others"
            );
            assert_eq!(content(&next), Content::Whole);
        }
    }

    #[test]
    fn a_kind_is_looked_up_while_somebody_wants_it_and_nobody_syncs_it() {
        let (one, two) = (mapper("One", &["Two", "Three"]), mapper("Two", &["Three"]));
        let (kinds, difference) = Kinds::default().under(&rules(&[&one]), 1);
        assert_eq!(summary(&difference), ["One", "", "", "Two Three", ""]);
        let (kinds, difference) = kinds.under(&rules(&[&one, &two]), 1);
        assert_eq!(summary(&difference), ["Two", "", "", "", "Two"]);
        let (kinds, difference) = kinds.under(&rules(&[&two]), 1);
        assert_eq!(summary(&difference), ["", "", "One", "", ""]);
        let (_, difference) = kinds.under(&Rules::default(), 1);
        assert_eq!(summary(&difference), ["", "", "Two", "", "Three"]);
    }

    /// A kind without a list, a key of it, and how names are made.
    fn early() -> (Arc<SyncedKind>, Key, Names) {
        let (kinds, _) = Kinds::default().under(&rules(&[&mapper("One", &[])]), 1);
        let kind = Kind::new("v1/One");
        let synced = kinds.synced(&kind).unwrap().clone();
        (synced, Key { kind, name: VirtualName::new("a", "b") }, Names::new("vc", "team-a").unwrap())
    }

    fn object<S>(namespace: &str, name: &str) -> Arc<Object<S>> {
        let metadata = json!({"namespace": namespace, "name": name, "resourceVersion": "5"});
        Arc::new(Object::from_json(json!({"metadata": metadata})).unwrap())
    }

    #[test]
    fn keys_that_come_out_early_are_kept_until_both_stores_are_complete() {
        let (synced, key, names) = early();
        synced.r#virtual.put(object("a", "b"));
        synced.r#virtual.set_synced();
        assert!(!synced.is_ready_for(&key, &names) && synced.take_early().is_empty());
        synced.host.set_synced();
        assert_eq!(synced.take_early(), [key.clone()].into());
        assert!(synced.is_ready_for(&key, &names));
    }

    #[test]
    fn keys_that_come_out_early_are_forgotten_once_no_side_has_them() {
        let (synced, key, names) = early();
        let host_name = names.host_name(&key.name);
        let kept = || {
            assert!(!synced.is_ready_for(&key, &names));
            synced.early.lock().unwrap().len()
        };
        assert_eq!(kept(), 0, "it is queued when a list has it");
        synced.r#virtual.put(object("a", "b"));
        assert_eq!(kept(), 1);
        synced.host.put(object("team-a", host_name.as_str()));
        synced.r#virtual.remove("a", "b", ResourceVersion::new("9"), Absence::Deleted);
        assert_eq!(kept(), 1, "the host still has it");
        synced.host.remove("team-a", host_name.as_str(), ResourceVersion::new("9"), Absence::Deleted);
        assert_eq!(kept(), 0, "a kind that the host lacks may never be complete");
    }
}
