//! What one cluster shows of one kind: a cache that never lets an older version replace a newer one.
//!
//! Watch events and the replies to our own writes are both stored here, so a decision sees what we wrote
//! without waiting for the watch. Objects are kept as trees while they are in use and packed
//! afterwards: a tree takes fifty times the memory.

mod absent;
pub(crate) mod listed;
mod names;

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_core::names::is_object_name;
use weft_core::object::Object;

use crate::engine::cache::packed::{Packed, Packer};
use crate::engine::cache::store::names::{Name, join};
use crate::engine::cache::tombstones::{Tombstones, ended_with_host_pod};
use crate::engine::cache::version::{ResourceVersion, version_of};

pub(crate) use crate::engine::cache::tombstones::Absence;

/// How many objects of one store are trees at a time: enough for what a burst is working on, so that
/// memory does not grow with the burst.
const TREES: usize = 64;

/// What [`Store::put`] did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The object is new or newer than what was there.
    Stored,
    /// The object is as old as what is there, or older; or it has a name that no server gives: whoever found it here would
    /// make URLs of that.
    Known,
}

/// One side's objects of one kind, by namespace and name.
pub(crate) struct Store<S> {
    state: Mutex<State<S>>,
}

struct State<S> {
    /// In the order of the names, so that those of a namespace are beside each other.
    objects: BTreeMap<Name, Entry<S>>,
    /// Names of the trees, oldest first.
    trees: VecDeque<Name>,
    packer: Packer,
    tombstones: Tombstones,
    /// In which epoch of the server the last complete list was begun.
    synced: Option<u64>,
    /// Why the server does not serve the kind.
    unserved: Option<String>,
    /// How many objects were visited to find those of some names.
    #[cfg(test)]
    visited: std::cell::Cell<usize>,
}

struct Entry<S> {
    version: ResourceVersion,
    body: Body<S>,
    /// Whether it came as the answer to a request of ours, and neither the watch nor a list has shown this version.
    is_unshown: bool,
}

enum Body<S> {
    Tree(Arc<Object<S>>),
    Packed(Packed),
    /// Only that it was seen is kept.
    Forgotten,
}

impl<S> Default for Store<S> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                objects: BTreeMap::new(),
                trees: VecDeque::new(),
                packer: Packer::default(),
                tombstones: Tombstones::default(),
                synced: None,
                unserved: None,
                #[cfg(test)]
                visited: std::cell::Cell::default(),
            }),
        }
    }
}

impl<S> Store<S> {
    /// The object of this name.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object<S>>> {
        let name = join(namespace, name);
        let mut state = self.lock();
        let entry = state.objects.get_mut(&name)?;
        let object = entry.peek()?;
        if matches!(entry.body, Body::Packed(_)) {
            entry.body = Body::Tree(object.clone());
            state.keep_tree(name);
        }
        Some(object)
    }

    /// The object of this name, for one read: it does not become a tree in the store.
    pub(crate) fn peek(&self, namespace: &str, name: &str) -> Option<Arc<Object<S>>> {
        self.lock().objects.get(&join(namespace, name)).and_then(Entry::peek)
    }

    /// Whether there is an object of this name.
    pub(crate) fn contains(&self, namespace: &str, name: &str) -> bool {
        self.lock().objects.contains_key(&join(namespace, name))
    }

    /// The watch shows this version of an object: how it compares with the one that the store has. It is greater than none.
    pub(crate) fn shown(&self, namespace: &str, name: &str, version: &ResourceVersion) -> Ordering {
        let mut state = self.lock();
        let Some(entry) = state.objects.get_mut(&join(namespace, name)) else { return Ordering::Greater };
        let order = version.order(&entry.version);
        entry.is_unshown &= order != Ordering::Equal;
        order
    }

    /// The object of this name, once, if it came as an answer that nothing has shown since. With it may have come changes of others
    /// whose events a list takes the place of.
    pub(crate) fn take_unshown(&self, namespace: &str, name: &str) -> Option<Arc<Object<S>>> {
        let mut state = self.lock();
        let entry = state.objects.get_mut(&join(namespace, name))?;
        if std::mem::take(&mut entry.is_unshown) { entry.peek() } else { None }
    }

    /// Stores an object that the server shows, unless a newer version of it is here or was deleted.
    pub(crate) fn put(&self, object: Arc<Object<S>>) -> Change {
        self.lock().put(object, false)
    }

    /// Stores the answer to a request of ours, unless a newer version of the object is here or was deleted.
    pub(crate) fn put_answer(&self, object: Arc<Object<S>>) -> Change {
        self.lock().put(object, true)
    }

    /// Stores an object that the server was asked for because it is not in view: that it left the view
    /// does not make it gone, so its version may be the one at which it left.
    pub(crate) fn readmit(&self, object: Arc<Object<S>>) -> Change {
        let mut state = self.lock();
        state.tombstones.lift(&join(object.namespace(), object.name()));
        state.put(object, true)
    }

    /// Stores the whole of an object of which the store has the metadata; says whether it is a newer version.
    pub(crate) fn put_whole(&self, object: Arc<Object<S>>) -> Change {
        let name = join(object.namespace(), object.name());
        let mut state = self.lock();
        match state.objects.get_mut(&name) {
            Some(entry) if entry.version == version_of(&object) => {
                // Of another server, the version means another object.
                if entry.peek().is_some_and(|known| known.uid() != object.uid()) {
                    return Change::Known;
                }
                entry.body = Body::Tree(object);
                state.keep_tree(name);
                Change::Known
            }
            _ => state.put(object, true),
        }
    }

    /// Removes an object that the server says is gone as of `version`; returns what was there.
    pub(crate) fn remove(
        &self,
        namespace: &str,
        name: &str,
        version: ResourceVersion,
        absence: Absence,
    ) -> Option<Arc<Object<S>>> {
        let name = join(namespace, name);
        let mut state = self.lock();
        if state.objects.get(&name).is_some_and(|entry| entry.version.is_newer_than(&version)) {
            return None;
        }
        let last = state.objects.remove(&name).as_ref().and_then(Entry::peek);
        state.tombstones.set(name.clone(), version, absence);
        if let Some(last) = &last {
            let of_host_pod = ended_with_host_pod(last);
            state.tombstones.set_ended(&name, [last.uid()].into_iter().chain(of_host_pod.as_deref()));
        }
        last
    }

    /// Keeps of an object only that it was seen.
    pub(crate) fn forget_content(&self, namespace: &str, name: &str) {
        if let Some(entry) = self.lock().objects.get_mut(&join(namespace, name)) {
            entry.body = Body::Forgotten;
        }
    }

    /// Packs the older half of what is not packed.
    pub(crate) fn pack_older(&self) {
        let mut state = self.lock();
        let keep = state.trees.len() / 2;
        state.pack_until(keep);
    }

    /// Whether there was a complete list.
    pub(crate) fn is_synced(&self) -> bool {
        self.lock().synced.is_some()
    }

    /// Whether there was no complete list, or the last one was begun in this epoch of the server.
    pub(crate) fn is_current(&self, epoch: u64) -> bool {
        self.lock().synced.is_none_or(|synced| synced == epoch)
    }

    /// Records that the server does not serve the kind, as if there had been no complete list; whether `why` is new.
    pub(crate) fn set_unserved(&self, why: &str) -> bool {
        let mut state = self.lock();
        state.synced = None;
        state.unserved.replace(why.to_owned()).as_deref() != Some(why)
    }

    /// Why the server does not serve the kind, if it does not.
    pub(crate) fn unserved(&self) -> Option<String> {
        self.lock().unserved.clone()
    }

    /// Records that there was a complete list, begun in this epoch of the server.
    pub(crate) fn set_synced_in(&self, epoch: u64) {
        let mut state = self.lock();
        (state.synced, state.unserved) = (Some(epoch), None);
    }

    /// The same in the first epoch.
    #[cfg(test)]
    pub(crate) fn set_synced(&self) {
        self.set_synced_in(0);
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> State<S> {
    /// Whether neither this version of an object, nor a newer one, is here or was deleted.
    fn is_new(&self, name: &Name, version: &ResourceVersion) -> bool {
        let old = self.objects.get(name).map(|entry| &entry.version);
        let old = old.or_else(|| self.tombstones.version(name));
        old.is_none_or(|old| version.is_newer_than(old))
    }

    fn put(&mut self, object: Arc<Object<S>>, is_unshown: bool) -> Change {
        let name = join(object.namespace(), object.name());
        let version = version_of(&object);
        if !is_object_name(object.namespace(), object.name()) || !self.is_new(&name, &version) {
            return Change::Known;
        }
        self.objects.insert(name.clone(), Entry { version, body: Body::Tree(object), is_unshown });
        self.keep_tree(name);
        Change::Stored
    }

    /// Records that the object of this name is a tree now; packs the oldest for it.
    fn keep_tree(&mut self, name: Name) {
        self.trees.push_back(name);
        self.pack_until(TREES);
    }

    fn pack_until(&mut self, keep: usize) {
        while self.trees.len() > keep
            && let Some(oldest) = self.trees.pop_front()
        {
            if let Some(entry) = self.objects.get_mut(&oldest) {
                entry.pack(&mut self.packer);
            }
        }
    }
}

impl<S> Entry<S> {
    /// Whether it is of the object with this UID, as far as its content says: a server that went back to an older state may give
    /// a version to something else.
    fn is_of(&self, uid: &str) -> bool {
        self.peek().is_none_or(|object| object.uid() == uid)
    }

    fn peek(&self) -> Option<Arc<Object<S>>> {
        match &self.body {
            Body::Tree(object) => Some(object.clone()),
            Body::Packed(packed) => packed.open().map(Object::new).map(Arc::new),
            Body::Forgotten => None,
        }
    }

    fn pack(&mut self, packer: &mut Packer) {
        if let Body::Tree(object) = &self.body
            && let Some(packed) = packer.pack(object.fields())
        {
            self.body = Body::Packed(packed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weft_core::object::VirtualObject;

    pub(super) fn object(version: &str) -> Arc<VirtualObject> {
        let json = json!({"metadata": {"namespace": "a", "name": "b", "resourceVersion": version}});
        Arc::new(VirtualObject::from_json(json).unwrap())
    }

    #[test]
    fn an_object_that_only_left_the_view_comes_back_when_asked_for() {
        let store: Store<weft_core::object::Virtual> = Store::default();
        for (absence, expected) in [(Absence::Unseen, Change::Stored), (Absence::Deleted, Change::Known)] {
            store.remove("a", "b", ResourceVersion::new("7"), absence);
            assert_eq!(store.put(object("7")), Change::Known);
            assert_eq!(store.readmit(object("7")), expected);
        }
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let store = Store::default();
        assert_eq!(store.put(object("10")), Change::Stored);
        assert_eq!(store.put(object("9")), Change::Known);
        assert_eq!(version_of(&store.get("a", "b").unwrap()).as_str(), "10");
    }

    #[test]
    fn an_object_under_a_name_that_no_server_gives_is_not_stored() {
        let store = Store::<weft_core::object::Virtual>::default();
        for (namespace, name) in [("a", "../b"), ("a", ""), ("..", "b"), ("a", "b,c")] {
            let metadata = json!({"namespace": namespace, "name": name, "resourceVersion": "1"});
            let object = || Arc::new(VirtualObject::from_json(json!({"metadata": metadata})).unwrap());
            assert_eq!(store.put(object()), Change::Known);
            assert_eq!((store.put_answer(object()), store.readmit(object())), (Change::Known, Change::Known));
            let version = ResourceVersion::new("1");
            assert_eq!(store.put_unreadable(namespace, name, "", version.clone(), &version), Change::Known);
            assert!(!store.contains(namespace, name), "{namespace} {name}");
        }
    }

    #[test]
    fn a_late_reply_does_not_bring_back_what_was_deleted() {
        let store = Store::default();
        store.put(object("10"));
        store.remove("a", "b", ResourceVersion::new("12"), Absence::Deleted);
        assert_eq!(store.put(object("11")), Change::Known);
        assert_eq!(store.put(object("13")), Change::Stored);
    }

    #[test]
    fn the_whole_of_a_known_version_takes_the_place_of_its_metadata() {
        let store = Store::default();
        let whole = |version: &str| {
            let mut whole = (*object(version)).clone();
            whole.fields_mut().insert("data".to_owned(), json!({"a": version}));
            Arc::new(whole)
        };
        store.put(object("10"));
        store.pack_older();
        assert_eq!(store.put_whole(whole("10")), Change::Known);
        assert_eq!(store.get("a", "b"), Some(whole("10")));
        assert_eq!(store.put_whole(whole("9")), Change::Known);
        assert_eq!(store.get("a", "b"), Some(whole("10")), "an older one takes no place");
        assert_eq!(store.put_whole(whole("11")), Change::Stored);
        store.remove("a", "b", ResourceVersion::new("12"), Absence::Deleted);
        assert_eq!((store.put_whole(whole("11")), store.get("a", "b")), (Change::Known, None));
    }

    #[test]
    fn a_packed_object_opens_to_the_same() {
        let store = Store::default();
        store.put(object("10"));
        store.pack_older();
        assert_eq!(*store.get("a", "b").unwrap(), *object("10"));
    }

    #[test]
    fn a_forgotten_content_is_still_known() {
        let store = Store::default();
        store.put(object("10"));
        store.forget_content("a", "b");
        assert_eq!(store.get("a", "b"), None);
        assert!(store.contains("a", "b"));
        assert_eq!(store.shown("a", "b", &ResourceVersion::new("10")), Ordering::Equal);
    }
}
