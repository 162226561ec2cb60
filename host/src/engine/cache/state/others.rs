//! What a change of something queues that is no pair: a Namespace, a mirrored volume, the Secret with a pod's tokens, the
//! ConfigMap with variables, what all host objects depend on.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde_json::Value;
use weft_core::keys::{CLUSTER_LABEL, FAKE_NODE_LABEL, MIRRORED_LABEL, NAMESPACE_LABEL, PURPOSE_LABEL};
use weft_core::object::{Host, HostObject, Key, Kind, Virtual, VirtualName, VirtualObject};

use crate::engine::cache::changed::Changed;
use crate::engine::cache::state::State;
use crate::engine::cache::state::environments::PURPOSE;

/// The key of a virtual node.
pub(crate) fn node_key(name: &str) -> Key {
    Key { kind: Kind::new("v1/Node"), name: VirtualName::new("", name) }
}

/// Whether a virtual node stands for one of the host, made up or mirrored.
pub(crate) fn is_our_node(node: &VirtualObject) -> bool {
    [FAKE_NODE_LABEL, MIRRORED_LABEL].iter().any(|label| node.label(label).is_some())
}

/// Whether a made-up node is tainted or cordoned. The host knows nothing of that, and its scheduler goes on placing pods there.
pub(crate) fn is_spoilt(node: &VirtualObject) -> bool {
    let is_tainted =
        || node.pointer("/spec/taints").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    let is_cordoned = || node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    node.label(FAKE_NODE_LABEL).is_some() && (is_tainted() || is_cordoned())
}

impl State {
    /// A virtual Namespace has changed: requeues its pods if its labels have, which is all that rules read of it.
    pub(crate) fn namespace_changed(&self, changed: &Changed<Virtual>) {
        let labels = changed.object.as_ref().map(|namespace| namespace.label_texts()).unwrap_or_default();
        if changed.object.is_none() {
            self.services.lock().unwrap_or_else(PoisonError::into_inner).remove(&changed.name);
            self.environment_changed(&changed.name);
        }
        if self.set_namespace_labels(&changed.name, labels) {
            self.requeue_pods(&changed.name);
        }
    }

    /// Records the labels of a virtual Namespace; none when it is gone, as pods read it. Whether they are others than before.
    fn set_namespace_labels(&self, namespace: &str, labels: BTreeMap<String, String>) -> bool {
        let mut known = self.namespace_labels.lock().unwrap_or_else(PoisonError::into_inner);
        if labels.is_empty() {
            return known.remove(namespace).is_some();
        }
        if known.get(namespace) == Some(&labels) {
            return false;
        }
        known.insert(namespace.to_owned(), labels);
        true
    }

    /// A mirrored volume has changed: requeues its claim, which completes it, or makes it again.
    pub(crate) fn volume_changed(&self, changed: &Changed<Virtual>) {
        let Some(volume) = changed.object.as_ref().or(changed.last.as_ref()) else { return };
        let claim = |field: &str| volume.text(&format!("/spec/claimRef/{field}"));
        if let (Some(namespace), Some(name)) = (claim("namespace"), claim("name")) {
            let kind = Kind::new("v1/PersistentVolumeClaim");
            self.queue.add(Key { kind, name: VirtualName::new(namespace, name) });
        }
    }

    /// A virtual Node has changed: requeues the pods that wait to know whose it is, and has one compared that mirrors the host's,
    /// or that is made up and is tainted or cordoned.
    pub(crate) fn node_changed(&self, changed: &Changed<Virtual>) {
        self.requeue_readers(&node_key(&changed.name));
        let node = changed.object.as_ref().or(changed.last.as_ref());
        if node.is_some_and(|node| is_spoilt(node) || node.label(MIRRORED_LABEL).is_some()) {
            self.host_nodes.compare(&changed.name);
        }
    }

    /// A pod of the whole host has changed: counts what it requests, unless it is one of this virtual cluster.
    pub(crate) fn host_pod_changed(&self, changed: &Changed<Host>) {
        let is_ours = changed.namespace == self.names.namespace()
            && changed
                .object
                .as_ref()
                .is_some_and(|pod| pod.label(CLUSTER_LABEL) == Some(self.names.cluster()));
        self.host_nodes.pod_changed(changed, !is_ours);
    }

    /// A host object that belongs to a pod's pair has changed, such as the Secret with its tokens: requeues the pod,
    /// or all that it may be if it does not say which.
    pub(super) fn part_changed(&self, part: &HostObject) {
        if part.label(PURPOSE_LABEL) == Some(PURPOSE) {
            return self.environment_part_changed(part);
        }
        if let Some(pod) = self.pod_of_tokens(part) {
            return self.queue.add(pod);
        }
        let pods = Kind::new("v1/Pod");
        let owner = part.text("/metadata/ownerReferences/0/name");
        let owner = owner.and_then(|name| self.synced(&pods)?.host.get(self.names.namespace(), name));
        match owner.and_then(|pod| self.key_of(&pod, &pods)) {
            Some(pod) => self.queue.add(pod),
            None => self.requeue_pods(part.label(NAMESPACE_LABEL).unwrap_or_default()),
        }
    }

    /// The owner of the host objects has changed: reports it if it is another one, or gone.
    pub(crate) fn owner_changed(&self, changed: &Changed<Host>) {
        self.report_unless_same(self.facts().owner.as_ref().map(|owner| &*owner.uid), changed);
    }

    /// The host Service of the virtual API server has changed: reports it if it is another one, or gone.
    pub(crate) fn api_service_changed(&self, changed: &Changed<Host>) {
        self.report_unless_same(self.service().as_ref().map(|service| service.uid()), changed);
    }

    fn report_unless_same(&self, known: Option<&str>, changed: &Changed<Host>) {
        let uid = changed.object.as_ref().map(|object| object.uid());
        if known.is_some_and(|known| uid != Some(known)) {
            self.base_changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::engine::cache::testing::{host_version, queued};
    use crate::engine::testing::Bench;

    /// A change of the virtual Namespace `shop`.
    fn shop(bench: &Bench, metadata: &serde_json::Value) {
        let mut object = VirtualObject::from_json(json!({"metadata": metadata})).unwrap();
        object.metadata_mut().insert("name".to_owned(), "shop".into());
        bench.state.namespace_changed(&Changed::new(Arc::new(object)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_requeues_its_pods_when_its_labels_change_and_not_otherwise() {
        let bench = Bench::echoing();
        for namespace in ["shop", "other"] {
            bench.put_virtual("v1/Pod", json!({"metadata": {"namespace": namespace, "name": "web"}}));
        }
        shop(&bench, &json!({"labels": {"team": "a"}}));
        assert_eq!(queued(&bench.state).await, ["Pod shop/web"]);
        shop(&bench, &json!({"labels": {"team": "a"}, "annotations": {"a": "b"}, "resourceVersion": "9"}));
        assert_eq!(queued(&bench.state).await, Vec::<String>::new(), "no rule reads what has changed");
        shop(&bench, &json!({"labels": {"team": "b"}}));
        assert_eq!(queued(&bench.state).await, ["Pod shop/web"]);
        shop(&bench, &json!({"labels": null}));
        assert_eq!(queued(&bench.state).await, ["Pod shop/web"]);
        shop(&bench, &json!({}));
        assert_eq!(queued(&bench.state).await, Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_costs_its_own_pods_and_nothing_once_it_is_gone() {
        let bench = Bench::echoing();
        for number in 0..500 {
            let metadata = json!({"namespace": format!("n-{number}"), "name": "web"});
            bench.put_virtual("v1/Pod", json!({"metadata": metadata}));
        }
        let pods = bench.state.synced(&Kind::new("v1/Pod")).unwrap().r#virtual.clone();
        shop(&bench, &json!({"labels": {"team": "a"}}));
        assert!(pods.visited() <= 1, "{} pods of other namespaces: see Store::names_in", pods.visited());
        let (namespace, name) = (String::new(), "shop".to_owned());
        bench.state.namespace_changed(&Changed { namespace, name, object: None, last: None });
        assert!(bench.state.namespace_labels.lock().unwrap().is_empty(), "labels must not pile up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mirrored_volume_queues_its_claim_when_it_comes_and_when_it_goes() {
        let bench = Bench::echoing();
        let claim = json!({"namespace": "shop", "name": "data"});
        let volume = json!({"metadata": {"name": "pvc-1"}, "spec": {"claimRef": claim}});
        let volume = Arc::new(VirtualObject::from_json(volume).unwrap());
        bench.state.volume_changed(&Changed::new(volume.clone()));
        assert_eq!(queued(&bench.state).await, ["PersistentVolumeClaim shop/data"]);
        let (namespace, name) = (String::new(), "pvc-1".to_owned());
        bench.state.volume_changed(&Changed { namespace, name, object: None, last: Some(volume) });
        assert_eq!(queued(&bench.state).await, ["PersistentVolumeClaim shop/data"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_pods_pair_queues_the_pod_that_owns_it_or_those_of_its_namespace() {
        let bench = Bench::echoing();
        let pods = Kind::new("v1/Pod");
        for name in ["web", "db"] {
            let pod = json!({"metadata": {"namespace": "shop", "name": name, "uid": name}});
            bench.put_virtual("v1/Pod", pod.clone());
            bench.put_host("v1/Pod", host_version(&bench.state, "v1/Pod", pod));
        }
        let part = |owners: serde_json::Value| {
            let labels = json!({PURPOSE_LABEL: "token", NAMESPACE_LABEL: "shop"});
            let metadata = json!({"name": "part", "labels": labels, "ownerReferences": owners});
            Arc::new(HostObject::from_json(json!({"metadata": metadata})).unwrap())
        };
        let host_name = crate::engine::testing::host_name("shop", "web");
        let owned = part(json!([{"kind": "Pod", "name": host_name.as_str()}]));
        bench.state.host_changed(&Kind::new("v1/Secret"), &Changed::new(owned.clone()));
        assert_eq!(queued(&bench.state).await, ["Pod shop/web"]);
        let (namespace, name) = ("team-a".to_owned(), "part".to_owned());
        let gone = Changed { namespace, name, object: None, last: Some(owned) };
        bench.state.host_changed(&Kind::new("v1/Secret"), &gone);
        assert_eq!(queued(&bench.state).await, ["Pod shop/web"]);
        bench.state.host_changed(&Kind::new("v1/Secret"), &Changed::new(part(json!([]))));
        let mut all = queued(&bench.state).await;
        all.sort();
        assert_eq!(all, ["Pod shop/db", "Pod shop/web"], "its owner was taken away");
        bench.state.requeue_kind(&pods);
        assert_eq!(queued(&bench.state).await.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_or_service_that_is_replaced_or_gone_is_reported_and_one_that_is_edited_is_not() {
        type Change = fn(&State, &Changed<Host>);
        let bench = Bench::echoing();
        bench.know_service();
        let is_reported = |change: Change, uid: Option<&str>| {
            let object = uid.map(|uid| json!({"metadata": {"name": "vc", "uid": uid}}));
            let object = object.and_then(HostObject::from_json).map(Arc::new);
            let (namespace, name) = ("team-a".to_owned(), "vc".to_owned());
            change(&bench.state, &Changed { namespace, name, object, last: None });
            futures::FutureExt::now_or_never(bench.state.base_changed.notified()).is_some()
        };
        for (change, known) in
            [(State::owner_changed as Change, "uid-owner"), (State::api_service_changed, "uid-service")]
        {
            assert!(!is_reported(change, Some(known)));
            assert!(is_reported(change, Some("uid-other")));
            assert!(is_reported(change, None));
        }
        bench.state.update_facts(|facts| facts.owner = None);
        assert!(!is_reported(State::owner_changed, Some("uid-other")), "nothing is known of the first yet");
    }
}
