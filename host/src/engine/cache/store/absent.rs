//! What is known of objects that a store does not have.

#[cfg(test)]
use super::Absence;
use super::Store;
use super::names::join;

impl<S> Store<S> {
    /// Whether the server has said that the object of this name was deleted which is the virtual object of this UID, or was the
    /// placed host pod of that.
    pub(crate) fn is_deleted(&self, namespace: &str, name: &str, uid: &str) -> bool {
        self.lock().tombstones.is_ended(&join(namespace, name), uid)
    }

    /// Records that the server was asked for an object of this name and has none, neither the virtual one of this UID nor its
    /// host object.
    pub(crate) fn confirm_deleted(&self, namespace: &str, name: &str, uid: &str) {
        let (name, mut state) = (join(namespace, name), self.lock());
        state.tombstones.confirm(name.clone());
        state.tombstones.set_ended(&name, [uid]);
    }

    /// What is known of an object that [`Self::get`] does not return.
    #[cfg(test)]
    pub(crate) fn absence(&self, namespace: &str, name: &str) -> Absence {
        self.lock().tombstones.absence(&join(namespace, name)).unwrap_or(Absence::Unseen)
    }

    /// Whether there was an object of this name, not long ago.
    pub(crate) fn was_there(&self, namespace: &str, name: &str) -> bool {
        self.lock().tombstones.absence(&join(namespace, name)).is_some()
    }
}
