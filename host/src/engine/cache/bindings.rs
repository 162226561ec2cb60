//! Which virtual pods the host has placed, while the virtual cluster does not show it.
//!
//! A binding is what proves in the virtual cluster that a pod has a place, so that it never runs twice. Until it is in
//! the cache, this is the proof.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How far the binding of each such pod has come, by the virtual pod's UID.
#[derive(Default)]
pub(crate) struct Bindings {
    by_uid: Mutex<HashMap<String, Stage>>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The host shows the pod's node.
    Placed,
    /// The virtual API server did not take the binding: nothing in the virtual cluster shows it.
    Failed,
    /// The virtual API server has taken the binding, and the cache does not show it yet.
    Accepted,
}

impl Bindings {
    /// Records that the host has placed a pod.
    pub(crate) fn placed(&self, uid: &str) {
        self.lock().entry(uid.to_owned()).or_insert(Stage::Placed);
    }

    /// Records that the virtual API server did not take a binding.
    pub(crate) fn failed(&self, uid: &str) {
        self.set(uid, Stage::Failed);
    }

    /// Records that the virtual API server has taken a binding.
    pub(crate) fn accepted(&self, uid: &str) {
        self.set(uid, Stage::Accepted);
    }

    /// Records that the cache shows the binding, or that the pod is gone.
    pub(crate) fn shown(&self, uid: &str) {
        let last = self.lock().remove(uid);
        self.publish(last, None);
    }

    /// A complete list does not show the bindings that were accepted: the virtual API server may have gone back to a state without
    /// them. Sending one again does no harm. Says whether there are any.
    pub(crate) fn doubt_accepted(&self) -> bool {
        let mut by_uid = self.lock();
        let accepted = by_uid.values_mut().filter(|stage| **stage == Stage::Accepted);
        accepted.map(|stage| *stage = Stage::Placed).count() > 0
    }

    /// Whether the virtual API server has taken a binding that the cache does not show.
    pub(crate) fn is_accepted(&self, uid: &str) -> bool {
        self.lock().get(uid) == Some(&Stage::Accepted)
    }

    /// Whether the host has placed the pod, though the cache does not show a binding.
    pub(crate) fn was_placed(&self, uid: &str) -> bool {
        self.lock().contains_key(uid)
    }

    /// The pods whose bindings failed: those that only we know of.
    pub(crate) fn all_failed(&self) -> BTreeSet<String> {
        let by_uid = self.lock();
        by_uid.iter().filter(|(_, stage)| **stage == Stage::Failed).map(|(uid, _)| uid.clone()).collect()
    }

    /// Forgets the failed ones that are not among `unbound`.
    pub(crate) fn keep_failed(&self, unbound: &HashSet<String>) {
        self.lock().retain(|uid, stage| *stage != Stage::Failed || unbound.contains(uid));
        self.changed.notify_one();
    }

    /// Waits until [`Self::all_failed`] may have changed. One task at a time can wait.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends one [`Self::changed`].
    pub(crate) fn touch(&self) {
        self.changed.notify_one();
    }

    fn set(&self, uid: &str, stage: Stage) {
        let last = self.lock().insert(uid.to_owned(), stage);
        self.publish(last, Some(stage));
    }

    fn publish(&self, last: Option<Stage>, now: Option<Stage>) {
        if last != now && [last, now].contains(&Some(Stage::Failed)) {
            self.touch();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Stage>> {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pod_counts_as_placed_until_the_cache_shows_it() {
        let bindings = Bindings::default();
        assert!(!bindings.was_placed("a"));
        bindings.placed("a");
        assert!(bindings.was_placed("a") && !bindings.is_accepted("a"));
        bindings.accepted("a");
        bindings.placed("a");
        assert!(bindings.is_accepted("a"), "that it was placed is old");
        assert!(bindings.doubt_accepted() && !bindings.doubt_accepted());
        assert!(bindings.was_placed("a") && !bindings.is_accepted("a"));
        bindings.shown("a");
        assert!(!bindings.was_placed("a"));
    }

    #[tokio::test]
    async fn only_failed_bindings_are_published() {
        let bindings = Bindings::default();
        let is_published = || {
            let mut changed = Box::pin(bindings.changed());
            futures::FutureExt::now_or_never(&mut changed).is_some()
        };
        bindings.placed("a");
        bindings.accepted("a");
        assert!(!is_published(), "all is well");
        bindings.failed("b");
        bindings.failed("c");
        assert!(is_published());
        assert_eq!(bindings.all_failed(), ["b", "c"].map(str::to_owned).into());
        bindings.failed("b");
        assert!(!is_published(), "it is known");
        bindings.accepted("b");
        assert!(is_published(), "the virtual cluster shows it from now on");
        bindings.keep_failed(&HashSet::new());
        assert_eq!(bindings.all_failed(), BTreeSet::new());
        assert!(bindings.is_accepted("b"));
    }
}
