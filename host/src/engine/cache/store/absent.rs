//! What is known of objects that a store does not have.

use super::names::join;
use super::{Absence, Store};

impl<S> Store<S> {
    /// What is known of an object that [`Self::get`] does not return.
    pub(crate) fn absence(&self, namespace: &str, name: &str) -> Absence {
        self.lock().tombstones.absence(&join(namespace, name)).unwrap_or(Absence::Unseen)
    }

    /// Whether the server has said that the object of this name and UID was deleted.
    pub(crate) fn is_deleted(&self, namespace: &str, name: &str, uid: &str) -> bool {
        self.lock().tombstones.is_of(&join(namespace, name), uid)
    }

    /// Records that the server was asked for an object of this name, has none, and so has that of the UID no more.
    pub(crate) fn confirm_deleted(&self, namespace: &str, name: &str, uid: &str) {
        let (name, mut state) = (join(namespace, name), self.lock());
        state.tombstones.confirm(name.clone());
        state.tombstones.set_uid(&name, uid);
    }

    /// Whether there was an object of this name, not long ago.
    pub(crate) fn was_there(&self, namespace: &str, name: &str) -> bool {
        self.lock().tombstones.absence(&join(namespace, name)).is_some()
    }

    /// Records that the server was asked and has no such object.
    pub(crate) fn confirm_absent(&self, namespace: &str, name: &str) {
        self.lock().tombstones.confirm(join(namespace, name));
    }
}
