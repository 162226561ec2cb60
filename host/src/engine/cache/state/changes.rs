//! What a change of a cache queues.

use std::sync::Arc;

use weft_core::keys::PURPOSE_LABEL;
use weft_core::mapper::Mapper;
use weft_core::names::Identity;
use weft_core::object::{Host, HostObject, Key, Kind, Virtual, VirtualName, VirtualObject};
use weft_core::plan;
use weft_core::spec::Life;

use crate::engine::cache::changed::Changed;
use crate::engine::cache::index::any;
use crate::engine::cache::kinds::SyncedKind;
use crate::engine::cache::state::State;
use crate::engine::cache::store::Change;

impl State {
    /// A virtual object of a synced kind has changed: queues it, and what it names or what has read it.
    pub(crate) fn virtual_changed(&self, kind: &Kind, changed: &Changed<Virtual>) {
        let Some(synced) = self.synced(kind) else { return };
        let key = key_of(kind, changed);
        if kind.as_str() == "v1/Pod" {
            self.pod_placed(&key, changed);
        }
        // Before the object itself: a pod finds its ConfigMaps there.
        self.set_targets(&key, &*synced.mapper, changed.object.as_deref());
        self.pair_changed(key);
    }

    /// A virtual object of a kind that is only looked up has changed: requeues what has read it.
    pub(crate) fn looked_up_changed(&self, kind: &Kind, changed: &Changed<Virtual>) {
        self.requeue_readers(&key_of(kind, changed));
    }

    /// A list of a kind is complete: queues what had to wait for it.
    pub(crate) fn listed(&self, kind: &Kind) {
        if let Some(synced) = self.synced(kind) {
            synced.take_early().into_iter().for_each(|key| self.queue.add(key));
        }
        if kind.as_str() == "v1/Pod" {
            self.requeue_early_tokens();
            if self.bindings.doubt_accepted() {
                self.requeue_kind(kind);
            }
        }
        self.requeue_readers(&any(kind, ""));
    }

    /// Queues a virtual object as if it were new, because its rules are.
    pub(crate) fn rules_changed(&self, key: Key, mapper: &dyn Mapper, object: &VirtualObject) {
        self.set_targets(&key, mapper, Some(object));
        self.queue.add(key);
    }

    /// Sets what the object of `key` names; queues what it did not name before, or no longer names.
    fn set_targets(&self, key: &Key, mapper: &dyn Mapper, object: Option<&VirtualObject>) {
        let targets = object.map(|object| mapper.targets(object)).unwrap_or_default();
        self.uses.set(key, targets).into_iter().for_each(|target| self.queue.add(target));
    }

    /// A host object of a synced kind has changed: queues its pair, if it is ours.
    pub(crate) fn host_changed(&self, kind: &Kind, changed: &Changed<Host>) {
        let Some(object) = changed.object.as_ref().or(changed.last.as_ref()) else { return };
        match self.key_of(object, kind).or_else(|| self.key_of_unsigned(object, kind)) {
            Some(key) => {
                if changed.object.is_none() {
                    self.host_object_gone(&key, object);
                }
                self.pair_changed(key);
            }
            None if object.label(PURPOSE_LABEL).is_some() => self.part_changed(object),
            None => {}
        }
    }

    /// A host object is gone: if it was a pod that had a place, its virtual pod may have run without showing it.
    fn host_object_gone(&self, key: &Key, last: &HostObject) {
        let was_placed = last.text("/spec/nodeName").is_some_and(|node| !node.is_empty());
        if key.kind.as_str() != "v1/Pod" || !was_placed {
            return;
        }
        let source = self.synced(&key.kind);
        let source = source.and_then(|pods| pods.r#virtual.peek(&key.name.namespace, &key.name.name));
        let (Some(source), Some(identity)) = (source, Identity::of(last)) else { return };
        if identity.uid == source.uid() && !plan::has_run(&source) {
            self.bindings.placed(source.uid());
        }
    }

    /// A pair has changed, on either side.
    fn pair_changed(&self, key: Key) {
        self.service_changed(&key);
        self.requeue_readers(&key);
        self.queue.add(key);
    }

    /// Stores the host's answer to a write of ours, as if the watch had shown it.
    pub(crate) fn host_answered(&self, kind: &Kind, object: &Arc<HostObject>) {
        let Some(synced) = self.synced(kind) else { return };
        if synced.host.put_answer(object.clone()) == Change::Stored
            && let Some(key) = self.key_of(object, kind)
        {
            self.answered(&synced, key);
        }
    }

    /// Stores a host object that the host was asked for because the cache did not show it, and queues what the watch would have
    /// queued: its event of this object is none any more, for the store knows it.
    pub(crate) fn host_found(&self, synced: &SyncedKind, object: &Arc<HostObject>) {
        if synced.host.readmit(object.clone()) == Change::Stored {
            self.host_changed(&synced.mapper.spec().resource.kind(), &Changed::new(object.clone()));
        }
    }

    /// The same for a virtual object.
    pub(crate) fn virtual_found(&self, synced: &SyncedKind, key: &Key, object: &Arc<VirtualObject>) {
        if synced.r#virtual.readmit(object.clone()) == Change::Stored {
            self.virtual_changed(&key.kind, &Changed::new(object.clone()));
        }
    }

    /// Stores a virtual object that was read whole because the cache has its metadata alone. If it is newer than that, it
    /// queues what the watch would have queued.
    pub(crate) fn content_read(&self, synced: &SyncedKind, key: &Key, object: &Arc<VirtualObject>) {
        if synced.r#virtual.put_whole(object.clone()) == Change::Stored {
            self.virtual_changed(&key.kind, &Changed::new(object.clone()));
        }
    }

    /// Stores the virtual API server's answer to a write of ours, as if the watch had shown it.
    pub(crate) fn virtual_answered(&self, kind: &Kind, object: &Arc<VirtualObject>) {
        let Some(synced) = self.synced(kind) else { return };
        if synced.r#virtual.put_answer(object.clone()) == Change::Stored {
            let key = Key { kind: kind.clone(), name: object.virtual_name() };
            // The watch event of it is none any more: the store knows it.
            if kind.as_str() == "v1/Pod" {
                self.pod_placed(&key, &Changed::new(object.clone()));
            }
            self.answered(&synced, key);
        }
    }

    fn answered(&self, synced: &SyncedKind, key: Key) {
        self.service_changed(&key);
        self.requeue_readers(&key);
        // What the host chose in its answer, such as an address, is to flow back. A pod's answers hold
        // nothing of the kind: what happens to it comes by the watch.
        if synced.mapper.spec().policy.life == Life::Data {
            self.queue.add(key);
        }
    }

    /// Requeues everything whose last decision read `key`.
    pub(super) fn requeue_readers(&self, key: &Key) {
        self.reads.sources(key).into_iter().for_each(|reader| self.queue.add(reader));
    }

    /// Requeues every virtual object of every kind, and what belongs to no pair.
    pub(crate) fn requeue_all(&self) {
        self.kinds().each_synced().for_each(|(kind, _)| self.requeue_kind(kind));
        self.requeue_environments();
    }

    /// Requeues every virtual object of a kind.
    pub(crate) fn requeue_kind(&self, kind: &Kind) {
        let Some(synced) = self.synced(kind) else { return };
        for (namespace, name) in synced.r#virtual.names() {
            self.queue.add(Key { kind: kind.clone(), name: VirtualName::new(namespace, name) });
        }
    }

    /// Requeues every pod of a virtual namespace.
    pub(crate) fn requeue_pods(&self, namespace: &str) {
        let kind = Kind::new("v1/Pod");
        let Some(synced) = self.synced(&kind) else { return };
        for name in synced.r#virtual.names_in(namespace, "") {
            self.queue.add(Key { kind: kind.clone(), name: VirtualName::new(namespace, name) });
        }
    }
}

fn key_of(kind: &Kind, changed: &Changed<Virtual>) -> Key {
    let name = VirtualName::new(changed.namespace.as_str(), changed.name.as_str());
    Key { kind: kind.clone(), name }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::engine::cache::testing::{changed, host_version, object, pod, queued, removed};
    use crate::engine::testing::{Bench, key};

    #[tokio::test(start_paused = true)]
    async fn a_pod_queues_the_config_maps_that_it_names_before_itself() {
        let bench = Bench::echoing();
        changed(&bench, "v1/Pod", pod("5", &["settings"]));
        assert_eq!(
            queued(&bench.state).await,
            ["ConfigMap shop/settings", "Pod shop/web"],
            "the pod finds its ConfigMap on the host if that comes first: see virtual_changed"
        );
        changed(&bench, "v1/Pod", pod("6", &["settings"]));
        assert_eq!(queued(&bench.state).await, ["Pod shop/web"], "what it named before is there already");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_pod_no_longer_names_is_queued_and_unused() {
        let bench = Bench::echoing();
        let settings = key("v1/ConfigMap", "shop", "settings");
        changed(&bench, "v1/Pod", pod("5", &["settings"]));
        assert!(bench.state.is_used(&settings));
        queued(&bench.state).await;
        removed(&bench, "v1/Pod", pod("6", &["settings"]));
        assert_eq!(queued(&bench.state).await, ["ConfigMap shop/settings", "Pod shop/web"]);
        assert!(!bench.state.is_used(&settings));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_requeues_whoever_has_read_the_object() {
        let bench = Bench::echoing();
        let (reader, read) = (key("v1/Pod", "shop", "web"), key("v1/Secret", "shop", "token"));
        bench.state.set_reads(&reader, [read.clone()].into());
        changed(&bench, "v1/Secret", object("token", "5"));
        assert_eq!(queued(&bench.state).await, ["Pod shop/web", "Secret shop/token"]);
        bench.state.set_reads(&reader, BTreeSet::new());
        changed(&bench, "v1/Secret", object("token", "6"));
        assert_eq!(queued(&bench.state).await, ["Secret shop/token"], "the last decision counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_only_looked_up_requeues_its_readers_and_not_itself() {
        let bench = Bench::echoing();
        let gateway = Kind::new("example.com/v1/Gateway");
        let read = Key { kind: gateway.clone(), name: VirtualName::new("shop", "front") };
        bench.state.set_reads(&key("v1/Service", "shop", "web"), [read].into());
        let object = Arc::new(VirtualObject::from_json(object("front", "5")).unwrap());
        bench.state.looked_up_changed(&gateway, &Changed::new(object));
        assert_eq!(queued(&bench.state).await, ["Service shop/web"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_list_requeues_whoever_has_read_all_of_the_kind() {
        let bench = Bench::echoing();
        let kind = Kind::new("v1/Secret");
        bench.state.set_reads(&key("v1/Pod", "shop", "web"), [any(&kind, "")].into());
        bench.state.listed(&kind);
        assert_eq!(queued(&bench.state).await, ["Pod shop/web"]);
    }

    #[tokio::test(start_paused = true)]
    async fn other_rules_queue_what_they_name_and_the_object() {
        let bench = Bench::echoing();
        let object = bench.put_virtual("v1/Pod", pod("5", &["settings"]));
        let mapper = bench.state.synced(&Kind::new("v1/Pod")).unwrap().mapper.clone();
        bench.state.rules_changed(key("v1/Pod", "shop", "web"), &*mapper, &object);
        assert_eq!(queued(&bench.state).await, ["ConfigMap shop/settings", "Pod shop/web"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_object_queues_its_pair_only_if_it_is_ours() {
        let bench = Bench::echoing();
        let kind = Kind::new("v1/Secret");
        let ours = bench.put_host("v1/Secret", host_version(&bench.state, "v1/Secret", object("token", "5")));
        let foreign = bench.put_host("v1/Secret", object("foreign", "5"));
        bench.state.host_changed(&kind, &Changed::new(ours.clone()));
        bench.state.host_changed(&kind, &Changed::new(foreign));
        assert_eq!(queued(&bench.state).await, ["Secret shop/token"]);
        let (namespace, name) = (ours.namespace().to_owned(), ours.name().to_owned());
        bench.state.host_changed(&kind, &Changed { namespace, name, object: None, last: Some(ours) });
        assert_eq!(
            queued(&bench.state).await,
            ["Secret shop/token"],
            "one that is gone is known by its last"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_object_that_lost_its_identity_queues_its_pair_whatever_its_name() {
        let bench = Bench::echoing();
        let kind = Kind::new("v1/ConfigMap");
        let long = "l".repeat(70);
        for name in ["settings", &long] {
            bench.put_virtual("v1/ConfigMap", object(name, "5"));
            let mut host = host_version(&bench.state, "v1/ConfigMap", object(name, "5"));
            host["metadata"]["annotations"] = json!({});
            host["metadata"]["labels"] = weft_core::labels::scope(&bench.state.names, "shop").into();
            let foreign = Arc::new(HostObject::from_json(host.clone()).unwrap());
            bench.state.host_changed(&kind, &Changed::new(foreign));
            assert_eq!(queued(&bench.state).await, Vec::<String>::new(), "its owner is not ours");
            host["metadata"]["ownerReferences"] = json!([{"uid": "uid-owner"}]);
            let stripped = bench.put_host("v1/ConfigMap", host);
            bench.state.host_changed(&kind, &Changed::new(stripped));
            assert_eq!(queued(&bench.state).await, [format!("ConfigMap shop/{name}")]);
            let synced = bench.state.synced(&kind).unwrap();
            assert!(bench.state.host_object(&synced, &key("v1/ConfigMap", "shop", name)).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_pod_that_goes_after_it_was_placed_is_remembered_if_the_virtual_pod_does_not_show_it() {
        let kind = Kind::new("v1/Pod");
        for (host_node, is_bound, remembered) in
            [(Some("node-1"), false, true), (None, false, false), (Some("node-1"), true, false)]
        {
            let bench = Bench::echoing();
            let mut source = pod("5", &[]);
            source["metadata"]["uid"] = "uid".into();
            if is_bound {
                source["spec"]["nodeName"] = "node-1".into();
                source["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "True"}]});
            }
            let uid = bench.put_virtual("v1/Pod", source.clone()).uid().to_owned();
            let mut host = host_version(&bench.state, "v1/Pod", source);
            host["spec"] = json!({"nodeName": host_node});
            let last = Some(Arc::new(HostObject::from_json(host).unwrap()));
            let (namespace, name) = ("team-a".to_owned(), "web-x-shop-x-vc".to_owned());
            bench.state.host_changed(&kind, &Changed { namespace, name, object: None, last });
            assert_eq!(bench.state.bindings.was_placed(&uid), remembered, "{host_node:?} {is_bound}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_queues_data_and_no_pods_but_the_readers_of_both() {
        let bench = Bench::echoing();
        for (kind, expected) in [
            ("v1/ConfigMap", &["Service shop/reader", "ConfigMap shop/a"][..]),
            ("v1/Pod", &["Service shop/reader"]),
        ] {
            bench.state.set_reads(&key("v1/Service", "shop", "reader"), [key(kind, "shop", "a")].into());
            let answer = VirtualObject::from_json(object("a", "5")).unwrap();
            bench.state.virtual_answered(&Kind::new(kind), &Arc::new(answer));
            assert_eq!(queued(&bench.state).await, expected, "virtual {kind}: see State::answered");
            let answer = host_version(&bench.state, kind, object("a", "6"));
            let answer = Arc::new(HostObject::from_json(answer).unwrap());
            bench.state.host_answered(&Kind::new(kind), &answer);
            assert_eq!(queued(&bench.state).await, expected, "host {kind}: see State::answered");
            bench.state.host_answered(&Kind::new(kind), &answer);
            assert_eq!(queued(&bench.state).await, Vec::<String>::new(), "{kind}: known already");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_requeues_its_own_pods() {
        let bench = Bench::echoing();
        bench.put_virtual("v1/Pod", pod("5", &[]));
        bench.put_virtual("v1/Pod", json!({"metadata": {"namespace": "other", "name": "pod"}}));
        bench.state.requeue_pods("shop");
        assert_eq!(queued(&bench.state).await, ["Pod shop/web"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_forgotten_leaves_the_queue_and_uses_nothing() {
        let bench = Bench::echoing();
        let (pods, settings) = (Kind::new("v1/Pod"), key("v1/ConfigMap", "shop", "settings"));
        changed(&bench, "v1/Pod", pod("5", &["settings"]));
        queued(&bench.state).await;
        bench.state.set_reads(&key("v1/Pod", "shop", "web"), [settings.clone()].into());
        bench.state.queue.add(key("v1/Pod", "shop", "web"));
        bench.state.forget_kind(&pods);
        assert_eq!(queued(&bench.state).await, ["ConfigMap shop/settings"], "it may be unused now");
        assert!(!bench.state.is_used(&settings));
        changed(&bench, "v1/ConfigMap", object("settings", "5"));
        assert_eq!(queued(&bench.state).await, ["ConfigMap shop/settings"], "its readers are forgotten too");
    }
}
