//! What a list says about a store: which objects there are, which are gone, and whether the server went back.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use weft_core::names::is_object_name;
use weft_core::object::Object;

use super::names::{Name, join, owned, split};
use super::{Absence, Body, Change, Entry, State, Store};
use crate::engine::cache::version::{ResourceVersion, version_of};

/// Namespace and name of an object that a list does not have, and the object.
type Unlisted<S> = (String, String, Option<Arc<Object<S>>>);

/// What a list says of one object.
pub(crate) struct Item<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) version: ResourceVersion,
}

/// How far the watch has shown the changes of a kind, and of which version a list of it is.
pub(crate) struct Place<'a> {
    pub(crate) seen: &'a ResourceVersion,
    pub(crate) listed: &'a ResourceVersion,
}

impl<S> Store<S> {
    /// Stores an object that a list of version `version` has. Such a list is right about every version up to its own, also
    /// where the store has a later one of them: that belongs to a past which the server has lost.
    pub(crate) fn put_listed(&self, object: Arc<Object<S>>, version: &ResourceVersion) -> Change {
        let name = join(object.namespace(), object.name());
        let followed = self.lock().follow_list(&name, object.uid(), &version_of(&object), version);
        match followed {
            Change::Known => Change::Known,
            Change::Stored => self.put(object),
        }
    }

    /// Records an object whose content cannot be read, in a list or an event of version `seen`. It is there, in this version; what
    /// was read of an older one stays, if that was the same object.
    pub(crate) fn put_unreadable(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        version: ResourceVersion,
        seen: &ResourceVersion,
    ) -> Change {
        if !is_object_name(namespace, name) {
            return Change::Known;
        }
        let name = join(namespace, name);
        let mut state = self.lock();
        if state.follow_list(&name, uid, &version, seen) == Change::Known || !state.is_new(&name, &version) {
            return Change::Known;
        }
        if let Some(entry) = state.objects.get_mut(&name).filter(|entry| entry.is_of(uid)) {
            entry.version = version;
        } else {
            state.objects.insert(name, Entry { version, body: Body::Forgotten, is_unshown: false });
        }
        Change::Stored
    }

    /// Whether an object is there of which nothing was ever read.
    pub(crate) fn is_unread(&self, namespace: &str, name: &str) -> bool {
        let state = self.lock();
        state.objects.get(&join(namespace, name)).is_some_and(|entry| matches!(entry.body, Body::Forgotten))
    }

    /// How many objects a complete list of version `version` does not have, and how many there are.
    pub(crate) fn count_unlisted(
        &self,
        listed: &dyn Fn(&str, &str) -> bool,
        version: &ResourceVersion,
    ) -> (usize, usize) {
        let state = self.lock();
        let unlisted = state.objects.iter().filter(|gone| is_unlisted(*gone, listed, version));
        (unlisted.count(), state.objects.len())
    }

    /// What a complete list does not have of the objects up to version `version`: namespace, name and version of each.
    pub(crate) fn unlisted(
        &self,
        listed: &dyn Fn(&str, &str) -> bool,
        version: &ResourceVersion,
    ) -> BTreeMap<(String, String), ResourceVersion> {
        let state = self.lock();
        let unlisted = state.objects.iter().filter(|gone| is_unlisted(*gone, listed, version));
        unlisted.map(|(name, entry)| (owned(name), entry.version.clone())).collect()
    }

    /// Removes what a complete list of version `version` does not have; returns it, as
    /// `(namespace, name, object)`.
    pub(crate) fn retain(
        &self,
        listed: &dyn Fn(&str, &str) -> bool,
        version: &ResourceVersion,
    ) -> Vec<Unlisted<S>> {
        let mut state = self.lock();
        let gone = state.objects.iter().filter(|gone| is_unlisted(*gone, listed, version));
        let gone: Vec<Name> = gone.map(|(name, _)| name.clone()).collect();
        let remove = |name: Name| {
            let last = state.objects.remove(&name).as_ref().and_then(Entry::peek);
            let (namespace, plain) = split(&name);
            let unlisted = (namespace.to_owned(), plain.to_owned(), last);
            state.tombstones.set(name, version.clone(), Absence::Unseen);
            unlisted
        };
        gone.into_iter().map(remove).collect()
    }

    /// The newest version of any object, and of the end of any, once there was a complete list.
    pub(crate) fn newest(&self) -> ResourceVersion {
        let state = self.lock();
        let versions = state.objects.values().map(|entry| &entry.version).chain(state.tombstones.versions());
        let versions = versions.filter(|_| state.synced.is_some());
        let newer = |a: &ResourceVersion, b: &ResourceVersion| a.is_newer_than(b);
        versions.fold(ResourceVersion::default(), |newest, version| {
            if newer(version, &newest) { version.clone() } else { newest }
        })
    }

    /// Whether the store has of an object what it must have by now: what an item of a list says, unless the watch is still to show
    /// that, or something that was written after the list.
    pub(crate) fn agrees(&self, item: &Item<'_>, place: &Place<'_>) -> bool {
        let is_to_come = item.version.is_newer_than(place.seen);
        let state = self.lock();
        let Some(entry) = state.objects.get(&join(item.namespace, item.name)) else { return is_to_come };
        match item.version.order(&entry.version) {
            Ordering::Equal => entry.is_of(item.uid),
            Ordering::Greater => is_to_come,
            Ordering::Less => entry.version.is_newer_than(place.listed),
        }
    }

    /// Accepts whatever the server shows next as newer.
    pub(crate) fn forget_versions(&self) {
        let mut state = self.lock();
        state.objects.values_mut().for_each(|entry| entry.version = ResourceVersion::default());
        state.tombstones.clear();
    }
}

impl<S> State<S> {
    /// Prepares for `version` of an object in a list of version `list`; says whether it is known already.
    fn follow_list(
        &mut self,
        name: &Name,
        uid: &str,
        version: &ResourceVersion,
        list: &ResourceVersion,
    ) -> Change {
        if let Some(entry) = self.objects.get_mut(name) {
            if entry.version == *version && entry.is_of(uid) {
                return Change::Known;
            }
            if !entry.version.is_newer_than(list) {
                entry.version = ResourceVersion::default();
            }
        } else if self.tombstones.version(name).is_some_and(|gone| !gone.is_newer_than(list)) {
            self.tombstones.revoke(name);
        }
        Change::Stored
    }
}

fn is_unlisted<S>(
    (name, entry): (&Name, &Entry<S>),
    listed: &dyn Fn(&str, &str) -> bool,
    version: &ResourceVersion,
) -> bool {
    let (namespace, name) = split(name);
    !listed(namespace, name) && !entry.version.is_newer_than(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::Value;
    use weft_core::object::VirtualObject;

    use crate::engine::cache::store::tests::object;

    fn item<'a>(uid: &'a str, version: &str) -> Item<'a> {
        Item { namespace: "a", name: "b", uid, version: ResourceVersion::new(version) }
    }

    #[test]
    fn what_a_list_does_not_have_is_gone_but_unconfirmed() {
        let store = Store::default();
        store.put(object("10"));
        let gone = store.retain(&|_, _| false, &ResourceVersion::new("20"));
        assert_eq!(gone, [("a".to_owned(), "b".to_owned(), Some(object("10")))]);
        assert_eq!(store.absence("a", "b"), Absence::Unseen);
    }

    #[test]
    fn only_a_complete_store_can_be_ahead_of_its_server() {
        let store = Store::default();
        store.put(object("10"));
        assert_eq!(store.newest().as_str(), "", "a first list may be older than our writes");
        store.set_synced();
        assert_eq!(store.newest().as_str(), "10");
        store.remove("a", "b", ResourceVersion::new("11"), Absence::Deleted);
        assert_eq!(store.newest().as_str(), "11", "or what is made anew could not come back");
    }

    #[test]
    fn without_versions_whatever_comes_next_is_newer() {
        let store = Store::default();
        store.put(object("10"));
        store.remove("a", "b", ResourceVersion::new("11"), Absence::Deleted);
        store.forget_versions();
        assert_eq!(store.put(object("1")), Change::Stored, "tombstones carry versions too");
        store.forget_versions();
        assert_eq!(store.put(object("1")), Change::Stored);
    }

    #[test]
    fn what_is_newer_than_a_list_stays() {
        let store = Store::default();
        store.put(object("10"));
        assert_eq!(store.retain(&|_, _| false, &ResourceVersion::new("9")), []);
        let unlisted = |version| store.unlisted(&|_, _| false, &ResourceVersion::new(version));
        assert_eq!(unlisted("9"), BTreeMap::new());
        let object = (("a".to_owned(), "b".to_owned()), ResourceVersion::new("10"));
        assert_eq!(unlisted("10"), [object].into());
    }

    #[test]
    fn an_object_that_cannot_be_read_is_there_in_its_version_with_what_was_read_before() {
        let store = Store::default();
        let put = |version: &str| {
            let version = ResourceVersion::new(version);
            store.put_unreadable("a", "b", "", version.clone(), &version)
        };
        assert_eq!((put("5"), put("5"), put("4")), (Change::Stored, Change::Known, Change::Known));
        assert!(store.is_unread("a", "b") && store.get("a", "b").is_none());
        assert_eq!(store.put(object("6")), Change::Stored);
        assert_eq!(put("7"), Change::Stored);
        assert!(!store.is_unread("a", "b"));
        assert_eq!(store.get("a", "b"), Some(object("6")), "what was read stays");
        let seven = ResourceVersion::new("7");
        let agrees = |uid| store.agrees(&item(uid, "7"), &Place { seen: &seven, listed: &seven });
        assert!(agrees(""), "an audit misses nothing");
        let another = store.put_unreadable("a", "b", "another", seven.clone(), &seven);
        assert_eq!((another, store.get("a", "b")), (Change::Stored, None), "that is no older state of it");
        assert!(agrees("another"), "nor does an audit miss that");
        store.remove("a", "b", ResourceVersion::new("8"), Absence::Deleted);
        assert_eq!((put("7"), put("9")), (Change::Known, Change::Stored), "it was deleted, and made again");
    }

    #[test]
    fn a_version_may_be_of_another_object_once_the_server_went_back() {
        let (store, seven) = (Store::default(), ResourceVersion::new("7"));
        let with_uid = |uid: &str| {
            let mut object = VirtualObject::clone(&object("7"));
            let metadata = object.fields_mut().get_mut("metadata").and_then(Value::as_object_mut);
            metadata.unwrap().insert("uid".into(), uid.into());
            Arc::new(object)
        };
        let agrees = |uid| store.agrees(&item(uid, "7"), &Place { seen: &seven, listed: &seven });
        store.put(with_uid("one"));
        assert_eq!(store.put_listed(with_uid("one"), &seven), Change::Known);
        assert!(agrees("one") && !agrees("two"));
        assert_eq!(store.put_listed(with_uid("two"), &seven), Change::Stored);
        assert!(agrees("two"));
    }

    #[test]
    fn a_store_agrees_with_what_the_watch_is_to_show_and_with_what_is_newer_than_the_list() {
        let (store, seen, listed) =
            (Store::default(), ResourceVersion::new("20"), ResourceVersion::new("30"));
        let agrees = |version| store.agrees(&item("", version), &Place { seen: &seen, listed: &listed });
        assert!(agrees("25") && !agrees("20"), "it is to come, or was missed");
        store.put(object("10"));
        assert!(agrees("25") && agrees("10") && !agrees("20"));
        store.put(object("28"));
        assert!(!agrees("25"), "the list knows nothing of 28: that was another past");
        store.put(object("31"));
        assert!(agrees("25"), "it was written after the list");
    }

    #[test]
    fn a_list_is_right_about_versions_up_to_its_own() {
        let store = Store::default();
        store.put(object("50"));
        let list = ResourceVersion::new("60");
        assert_eq!(store.put_listed(object("50"), &list), Change::Known);
        assert_eq!(store.put_listed(object("40"), &list), Change::Stored, "50 was lost");
        store.put(object("70"));
        assert_eq!(store.put_listed(object("40"), &list), Change::Known, "70 came after the list");
        store.remove("a", "b", ResourceVersion::new("80"), Absence::Deleted);
        assert_eq!(store.put_listed(object("40"), &list), Change::Known, "so did the deletion");
        assert_eq!(store.put_listed(object("40"), &ResourceVersion::new("90")), Change::Stored);
        assert_eq!(store.count_unlisted(&|_, _| false, &ResourceVersion::new("90")), (1, 1));
    }
}
