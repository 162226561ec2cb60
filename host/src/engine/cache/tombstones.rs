//! Which objects have left a store not long ago, so that a late reply does not bring one back.

use std::collections::{HashMap, VecDeque};

use weft_core::keys::IDENTITY;
use weft_core::names::Identity;
use weft_core::object::Object;

use crate::engine::cache::version::ResourceVersion;

/// How many tombstones one store keeps.
const LIMIT: usize = 1024;

/// Whether an object that the cache does not show is known to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// The server said that it was deleted.
    Deleted,
    /// It left the view, or never was in it: ask the server before anything is destroyed.
    Unseen,
}

/// What is left of each object that is gone, by its joined name.
#[derive(Default)]
pub(super) struct Tombstones {
    by_name: HashMap<Box<str>, Tombstone>,
    /// Oldest first.
    order: VecDeque<Box<str>>,
}

struct Tombstone {
    version: ResourceVersion,
    absence: Absence,
    /// UIDs of the virtual objects that are known to have ended with it; others of the same name may have come since.
    ended: Vec<Box<str>>,
}

impl Tombstones {
    /// Records that an object is gone as of `version`; forgets the oldest record for it.
    pub(super) fn set(&mut self, name: Box<str>, version: ResourceVersion, absence: Absence) {
        let tombstone = Tombstone { version, absence, ended: Vec::new() };
        if self.by_name.insert(name.clone(), tombstone).is_none() {
            self.order.push_back(name);
        }
        if self.order.len() > LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_name.remove(&oldest);
        }
    }

    /// Records that the server was asked for an object and has none.
    pub(super) fn confirm(&mut self, name: Box<str>) {
        let version = self.version(&name).cloned().unwrap_or_default();
        self.set(name, version, Absence::Deleted);
    }

    /// Records that the virtual objects of these UIDs have ended with the object that is gone.
    pub(super) fn set_ended<'a>(&mut self, name: &str, uids: impl IntoIterator<Item = &'a str>) {
        if let Some(tombstone) = self.by_name.get_mut(name) {
            tombstone.ended = uids.into_iter().map(Into::into).collect();
        }
    }

    /// Whether the virtual object of this UID is known to have ended with an object of this name.
    pub(super) fn is_ended(&self, name: &str, uid: &str) -> bool {
        self.by_name.get(name).is_some_and(|tombstone| {
            let ended = tombstone.ended.iter().any(|ended| **ended == *uid);
            tombstone.absence == Absence::Deleted && !uid.is_empty() && ended
        })
    }

    /// Lets an object come back in any version, if it only left the view: the server shows it still.
    pub(super) fn lift(&mut self, name: &str) {
        if let Some(tombstone) = self.by_name.get_mut(name)
            && tombstone.absence == Absence::Unseen
        {
            tombstone.version = ResourceVersion::default();
        }
    }

    /// Lets an object come back in any version: that it was gone belongs to a past which the server has lost.
    pub(super) fn revoke(&mut self, name: &str) {
        if let Some(tombstone) = self.by_name.get_mut(name) {
            tombstone.version = ResourceVersion::default();
        }
    }

    /// As of which version an object is gone.
    pub(super) fn version(&self, name: &str) -> Option<&ResourceVersion> {
        self.by_name.get(name).map(|tombstone| &tombstone.version)
    }

    /// As of which versions objects are gone.
    pub(super) fn versions(&self) -> impl Iterator<Item = &ResourceVersion> {
        self.by_name.values().map(|tombstone| &tombstone.version)
    }

    /// Why an object is gone, if it was there not long ago.
    pub(super) fn absence(&self, name: &str) -> Option<Absence> {
        self.by_name.get(name).map(|tombstone| tombstone.absence)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.by_name.clear();
        self.order.clear();
    }
}

/// UID of the virtual pod that ends with this host pod. Before a host pod is placed, another one may take its place.
pub(super) fn ended_with_host_pod<S>(object: &Object<S>) -> Option<String> {
    object.text("/spec/nodeName").filter(|node| !node.is_empty())?;
    Some(Identity::read(object.annotation(IDENTITY)?)?.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ResourceVersion {
        ResourceVersion::new(text)
    }

    #[test]
    fn the_oldest_are_forgotten_so_that_memory_stays_bounded() {
        let mut tombstones = Tombstones::default();
        for number in 0..=LIMIT {
            tombstones.set(number.to_string().into(), version("7"), Absence::Deleted);
        }
        assert_eq!((tombstones.absence("0"), tombstones.by_name.len()), (None, LIMIT));
        assert_eq!(tombstones.absence("1"), Some(Absence::Deleted));
    }

    #[test]
    fn a_name_that_is_gone_again_takes_no_second_place() {
        let mut tombstones = Tombstones::default();
        for number in 0..LIMIT * 2 {
            tombstones.set("same".into(), version(&number.to_string()), Absence::Unseen);
        }
        assert_eq!(tombstones.order.len(), 1);
        assert_eq!(tombstones.version("same"), Some(&version("2047")));
    }

    #[test]
    fn who_is_gone_is_known_by_its_uid() {
        let mut tombstones = Tombstones::default();
        tombstones.set("a".into(), version("7"), Absence::Deleted);
        assert!(!tombstones.is_ended("a", ""), "of whom nothing is known nothing is concluded");
        tombstones.set_ended("a", ["uid-1"]);
        assert!(tombstones.is_ended("a", "uid-1") && !tombstones.is_ended("a", "uid-2"));
        tombstones.set("a".into(), version("8"), Absence::Unseen);
        tombstones.set_ended("a", ["uid-1"]);
        assert!(!tombstones.is_ended("a", "uid-1"), "it only left the view");
    }

    #[test]
    fn a_confirmed_absence_keeps_its_version_and_is_not_lifted() {
        let mut tombstones = Tombstones::default();
        tombstones.set("a".into(), version("7"), Absence::Unseen);
        tombstones.confirm("a".into());
        tombstones.lift("a");
        assert_eq!(tombstones.absence("a"), Some(Absence::Deleted));
        assert_eq!(tombstones.version("a"), Some(&version("7")));
    }
}
