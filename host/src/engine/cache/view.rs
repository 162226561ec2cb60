//! What one decision reads beside its own pair, recorded so that a change there requeues it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use weft_core::context::Lookup;
use weft_core::object::{HostObject, Key, Kind, VirtualObject};

use crate::engine::cache::index::any;
use crate::engine::cache::kinds::Kinds;
use crate::engine::cache::state::State;

/// Reads for the decision about one key. Clones record together.
#[derive(Clone)]
pub(crate) struct View {
    state: Arc<State>,
    kinds: Arc<Kinds>,
    /// Whose decision it is, if the caches may change while it is made.
    reader: Option<Key>,
    reads: Arc<Mutex<BTreeSet<Key>>>,
}

impl View {
    /// Reads for a decision that is made while nothing else happens.
    pub(crate) fn new(state: Arc<State>, kinds: Arc<Kinds>) -> Self {
        Self { state, kinds, reader: None, reads: Arc::default() }
    }

    /// Reads for the decision about `reader`, while the caches change: each read is recorded before it is done.
    pub(crate) fn beside_changes(state: Arc<State>, kinds: Arc<Kinds>, reader: Key) -> Self {
        Self { reader: Some(reader), ..Self::new(state, kinds) }
    }

    /// What was read.
    pub(crate) fn into_reads(self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.reads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records a read.
    pub(crate) fn note(&self, read: Key) {
        if let Some(reader) = &self.reader {
            self.state.add_read(reader, &read);
        }
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).insert(read);
    }
}

impl Lookup for View {
    fn object(&self, key: &Key) -> Option<Arc<VirtualObject>> {
        self.note(key.clone());
        let found = self.kinds.virtual_store(&key.kind)?.get(&key.name.namespace, &key.name.name);
        // What rules look up is cached whole: see Content::needed.
        found.filter(|object| !object.is_metadata_only())
    }

    fn namespace_labels(&self, namespace: &str) -> Arc<BTreeMap<String, String>> {
        // Not recorded: a change of labels requeues the namespace's pods anyway.
        let object = self.state.namespaces.get("", namespace);
        Arc::new(object.map(|object| object.label_texts()).unwrap_or_default())
    }

    fn host_object(&self, key: &Key) -> Option<Arc<HostObject>> {
        self.note(key.clone());
        self.state.host_object(self.kinds.synced(&key.kind)?, key)
    }

    fn find(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &[(String, String)],
    ) -> Vec<Arc<VirtualObject>> {
        // An object that is created later counts too, so the whole namespace is recorded.
        self.note(any(kind, namespace.unwrap_or_default()));
        let Some(store) = self.kinds.virtual_store(kind) else { return Vec::new() };
        let mut found = Vec::new();
        store.each(namespace.unwrap_or_default(), &mut |object| {
            if object.has_labels(labels) && !object.is_metadata_only() {
                found.push(Arc::clone(object));
            }
        });
        found.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        found
    }

    fn shared(&self) -> Arc<dyn Lookup + Send + Sync> {
        Arc::new(self.clone())
    }

    fn is_complete(&self, kind: &Kind) -> bool {
        let is_synced = || self.kinds.virtual_store(kind).is_some_and(|store| store.is_synced());
        if is_synced() {
            return true;
        }
        self.note(any(kind, ""));
        is_synced()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::engine::cache::changed::Changed;
    use crate::engine::queue::Outcome;
    use crate::engine::testing::{Bench, key};
    use crate::registry::Rules;

    fn secret(namespace: &str, name: &str, tier: &str) -> Value {
        let metadata = json!({"namespace": namespace, "name": name, "labels": {"tier": tier}});
        json!({"metadata": metadata})
    }

    fn view(bench: &Bench) -> View {
        View::new(bench.state.clone(), bench.state.kinds())
    }

    /// Whether a change of `read` queues `reader`.
    async fn requeues(bench: &Bench, read: &Key, reader: &Key) -> bool {
        let name = read.name.clone();
        let changed = Changed { namespace: name.namespace, name: name.name, object: None, last: None };
        bench.state.looked_up_changed(&read.kind, &changed);
        let next = tokio::time::timeout(Duration::from_millis(1), bench.state.queue.next()).await;
        next.is_ok_and(|next| next.as_ref() == Some(reader))
    }

    #[tokio::test]
    async fn reads_are_recorded_whether_or_not_they_find_anything() {
        let bench = Bench::echoing();
        bench.put_virtual("v1/Secret", secret("shop", "there", ""));
        let view = view(&bench);
        let (there, gone) = (key("v1/Secret", "shop", "there"), key("v1/Secret", "shop", "gone"));
        let unknown = key("example.com/v1/Gateway", "shop", "front");
        assert_eq!(view.object(&there).unwrap().name(), "there");
        assert!(view.object(&gone).is_none() && view.object(&unknown).is_none());
        assert!(view.shared().host_object(&there).is_none());
        let pod = key("v1/Pod", "shop", "web");
        view.note(pod.clone());
        assert_eq!(view.into_reads(), [there, gone, unknown, pod].into());
    }

    #[tokio::test]
    async fn what_a_plugin_reads_elsewhere_is_recorded_here() {
        let bench = Bench::echoing();
        let view = view(&bench);
        view.shared().object(&key("v1/Secret", "shop", "a"));
        assert_eq!(view.into_reads(), [key("v1/Secret", "shop", "a")].into());
    }

    #[tokio::test(start_paused = true)]
    async fn beside_changes_a_read_counts_before_the_decision_is_made() {
        let bench = Bench::echoing();
        let (reader, read) = (key("v1/Pod", "shop", "web"), key("v1/Secret", "shop", "a"));
        view(&bench).object(&read);
        assert!(!requeues(&bench, &read, &reader).await, "without a reader nothing is recorded in the state");
        let view = View::beside_changes(bench.state.clone(), bench.state.kinds(), reader.clone());
        view.object(&read);
        assert!(requeues(&bench, &read, &reader).await, "the reads are not set yet: see View::note");
    }

    #[tokio::test]
    async fn objects_are_found_by_labels_and_sorted_by_namespace_and_name() {
        let bench = Bench::echoing();
        for (namespace, name, tier) in
            [("shop", "b", "web"), ("shop", "a", "web"), ("back", "z", "web"), ("shop", "c", "db")]
        {
            bench.put_virtual("v1/Secret", secret(namespace, name, tier));
        }
        let (view, kind) = (view(&bench), Kind::new("v1/Secret"));
        let names = |namespace, labels: &[(String, String)]| -> Vec<String> {
            let found = view.find(&kind, namespace, labels);
            found.iter().map(|object| format!("{}/{}", object.namespace(), object.name())).collect()
        };
        let web = [("tier".to_owned(), "web".to_owned())];
        assert_eq!(names(None, &web), ["back/z", "shop/a", "shop/b"]);
        assert_eq!(names(Some("shop"), &[]), ["shop/a", "shop/b", "shop/c"]);
        assert!(view.find(&Kind::new("example.com/v1/Gateway"), None, &[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_created_where_somebody_searched_requeues_the_searcher() {
        let bench = Bench::echoing();
        let (view, kind) = (view(&bench), Kind::new("v1/Secret"));
        view.find(&kind, Some("shop"), &[]);
        let reads = view.into_reads();
        assert_eq!(reads, [any(&kind, "shop")].into());
        let reader = key("v1/Pod", "shop", "web");
        bench.state.set_reads(&reader, reads);
        assert!(requeues(&bench, &key("v1/Secret", "shop", "new"), &reader).await);
        bench.state.queue.done(&reader, Outcome::Done);
        assert!(!requeues(&bench, &key("v1/Secret", "other", "new"), &reader).await);
    }

    #[tokio::test]
    async fn labels_of_a_namespace_are_empty_while_it_is_unknown() {
        let bench = Bench::echoing();
        assert!(view(&bench).namespace_labels("shop").is_empty());
        let shop = json!({"metadata": {"name": "shop", "labels": {"team": "a"}}});
        bench.state.namespaces.put(Arc::new(VirtualObject::from_json(shop).unwrap()));
        assert_eq!(view(&bench).namespace_labels("shop").get("team").map(String::as_str), Some("a"));
    }

    #[tokio::test]
    async fn a_kind_that_is_not_complete_is_recorded_as_read() {
        let bench = Bench::echoing();
        let kind = Kind::new("v1/Secret");
        let complete = view(&bench);
        assert!(complete.is_complete(&kind) && complete.into_reads().is_empty());
        let rules = Rules { mappers: weft_core::kinds::builtin(), ..Default::default() };
        let (kinds, _) = Kinds::default().under(&rules, 1);
        let early = View::new(bench.state.clone(), Arc::new(kinds));
        assert!(!early.is_complete(&kind));
        assert_eq!(early.into_reads(), [any(&kind, "")].into(), "its list requeues the reader");
    }
}
