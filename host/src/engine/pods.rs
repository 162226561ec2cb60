//! Answers which host pod stands for a virtual one, and which containers a tenant may name in it.

use std::sync::Arc;

use serde_json::Value;
use weft_core::names::Identity;
use weft_core::object::{Key, Kind, VirtualName, VirtualObject};

use crate::engine::apply::gate::Gate;
use crate::engine::cache::state::{State, is_our_node};

/// The lists of containers in the spec of a pod.
const CONTAINERS: [&str; 3] = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];

/// The pairs of pods, as the caches show them.
#[derive(Clone)]
pub struct Pods {
    state: Arc<State>,
    gate: Arc<Gate>,
}

/// A pod of ours on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPod {
    /// Its namespace on the host.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// UID of the virtual pod.
    pub virtual_uid: String,
    /// Names of the virtual pod's containers, of each sort. The host may have added others, which are not the tenant's.
    pub containers: Vec<String>,
}

/// A virtual pod on one of our nodes: not the object, as a node may have many of them.
#[derive(Debug, Clone)]
pub struct PodOfNode {
    /// Its name in the virtual cluster.
    pub name: VirtualName,
    /// Its UID there.
    pub uid: String,
    /// The name of its host pod.
    pub host_name: String,
    /// Names of its containers, of each sort; the host may have added others.
    pub containers: Vec<String>,
}

/// Why nothing can be said of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoNode {
    /// The caches are not complete yet, or a server is not known to be the expected one.
    Unknown,
    /// The virtual cluster has no such node that stands for one of the host.
    NotThere,
}

/// Why there is no host pod to speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHostPod {
    /// The caches are not complete yet.
    Unknown,
    /// A server does not answer, or is not the one that is expected: the pod of this name there may be of others.
    NotConfirmed,
    /// The virtual cluster has no such pod.
    NoVirtualPod,
    /// The host has no pod for it, or still one of an earlier pod of the same name.
    NotThere,
}

impl Pods {
    pub(crate) fn new(state: Arc<State>, gate: Arc<Gate>) -> Self {
        Self { state, gate }
    }

    /// The host pod of a virtual pod, on a host that has just been found to be the expected one.
    ///
    /// # Errors
    /// There is none, or it is not known now whether there is one.
    pub async fn find(&self, namespace: &str, name: &str) -> Result<HostPod, NoHostPod> {
        let pod = self.cached(namespace, name)?;
        self.gate.pass().await.map_err(|_| NoHostPod::NotConfirmed)?;
        Ok(pod)
    }

    fn cached(&self, namespace: &str, name: &str) -> Result<HostPod, NoHostPod> {
        let kind = Kind::new("v1/Pod");
        let synced =
            self.state.synced(&kind).filter(|synced| synced.is_synced()).ok_or(NoHostPod::Unknown)?;
        let pod = synced.r#virtual.get(namespace, name).ok_or(NoHostPod::NoVirtualPod)?;
        let key = Key { kind, name: VirtualName::new(namespace, name) };
        let host = self.state.host_object(&synced, &key).ok_or(NoHostPod::NotThere)?;
        // One that has lost its identity gets it back, and then it is known which of two pods of a name it was made for.
        let is_its_own = Identity::of(&host).is_some_and(|identity| identity.uid == pod.uid());
        if !is_its_own {
            return Err(NoHostPod::NotThere);
        }
        Ok(HostPod {
            namespace: host.namespace().to_owned(),
            name: host.name().to_owned(),
            virtual_uid: pod.uid().to_owned(),
            containers: containers(&pod).map(str::to_owned).collect(),
        })
    }

    /// The pods on a node of ours, on a host that has just been found to be the expected one.
    ///
    /// # Errors
    /// It is not a node of ours, or that is not known now.
    pub async fn on_node(&self, node: &str) -> Result<Vec<PodOfNode>, NoNode> {
        let synced = self.state.synced(&Kind::new("v1/Pod")).filter(|synced| synced.is_synced());
        let synced = synced.filter(|_| self.state.nodes.is_synced()).ok_or(NoNode::Unknown)?;
        let found = self.state.nodes.get("", node);
        found.filter(|node| is_our_node(node)).ok_or(NoNode::NotThere)?;
        self.gate.pass().await.map_err(|_| NoNode::Unknown)?;
        let mut keys = self.state.pods_on(node);
        keys.sort();
        let pod = |Key { name, .. }: Key| {
            let pod = synced.r#virtual.peek(&name.namespace, &name.name)?;
            let host_name = self.state.names.host_name(&name).as_str().to_owned();
            let containers = containers(&pod).map(str::to_owned).collect();
            Some(PodOfNode { name, uid: pod.uid().to_owned(), host_name, containers })
        };
        Ok(keys.into_iter().filter_map(pod).collect())
    }

    /// A pod, as the virtual cluster shows it.
    pub fn object(&self, name: &VirtualName) -> Option<Arc<VirtualObject>> {
        self.state.synced(&Kind::new("v1/Pod"))?.r#virtual.peek(&name.namespace, &name.name)
    }

    /// The virtual cluster's name.
    pub fn cluster(&self) -> &str {
        self.state.names.cluster()
    }

    /// The namespace of its host pods.
    pub fn host_namespace(&self) -> &str {
        self.state.names.namespace()
    }

    /// `text` of the host about a pod of the virtual `namespace`, without names of the host.
    pub fn to_virtual_text(&self, text: &str, namespace: &str) -> String {
        self.state.names.to_virtual_text(text, namespace)
    }
}

fn containers(pod: &VirtualObject) -> impl Iterator<Item = &str> {
    let lists = CONTAINERS.into_iter().filter_map(|list| pod.pointer(list)?.as_array());
    lists.flatten().filter_map(|container| container.get("name").and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::sync::watch;
    use weft_core::keys::VIRTUAL_CLUSTER_UID;

    use crate::api::scripted::Answer;
    use crate::engine::apply::gate::Ready;
    use crate::engine::testing::{Bench, host_name, host_object, identity_answer, pod};

    const POD: &str = "v1/Pod";

    #[tokio::test]
    async fn a_pod_of_ours_is_found_with_the_containers_that_the_tenant_named() {
        let bench = Bench::echoing();
        let mut virtual_pod = pod();
        virtual_pod["spec"]["initContainers"] = json!([{"name": "setup"}]);
        virtual_pod["spec"]["ephemeralContainers"] = json!([{"name": "debugger"}]);
        bench.put_virtual(POD, virtual_pod);
        let mut host_pod = host_object(POD, "shop", "web", "uid-1");
        host_pod["spec"] = json!({"containers": [{"name": "web"}, {"name": "added-by-the-host"}]});
        bench.put_host(POD, host_pod);
        let found = bench.pods().find("shop", "web").await.unwrap();
        assert_eq!(
            (found.namespace.as_str(), found.name.as_str()),
            ("team-a", host_name("shop", "web").as_str())
        );
        assert_eq!(found.virtual_uid, "uid-1");
        assert_eq!(found.containers, ["web", "setup", "debugger"]);
    }

    #[tokio::test]
    async fn what_is_not_the_pods_own_is_not_found() {
        let bench = Bench::echoing();
        let pods = bench.pods();
        assert_eq!(pods.find("shop", "web").await, Err(NoHostPod::NoVirtualPod));
        bench.put_virtual(POD, pod());
        assert_eq!(pods.find("shop", "web").await, Err(NoHostPod::NotThere));
        bench.put_host(POD, host_object(POD, "shop", "web", "uid-of-its-predecessor"));
        assert_eq!(pods.find("shop", "web").await, Err(NoHostPod::NotThere));
        let mut foreign = host_object(POD, "shop", "web", "uid-1");
        foreign["metadata"]["annotations"] = json!({});
        foreign["metadata"]["labels"] = json!({});
        bench.put_host(POD, foreign);
        assert_eq!(pods.find("shop", "web").await, Err(NoHostPod::NotThere), "of somebody else");
    }

    #[tokio::test]
    async fn before_the_caches_are_complete_nothing_is_known() {
        let pods = Pods::new(Arc::new(Bench::empty_state()), Arc::new(Gate::Open));
        assert_eq!(pods.find("shop", "web").await, Err(NoHostPod::Unknown));
    }

    #[tokio::test]
    async fn a_pod_of_the_same_name_on_another_host_is_not_found() {
        let of_other = json!({"metadata": {"uid": "u", "annotations": {VIRTUAL_CLUSTER_UID: "cluster-2"}}});
        let of_other = json!({"metadata": {"resourceVersion": "7"}, "items": [of_other]});
        let bench = Bench::new(move |_| Answer::ok(of_other.clone()), |_| identity_answer("cluster-1", 7));
        bench.put_virtual(POD, pod());
        bench.put_host(POD, host_object(POD, "shop", "web", "uid-1"));
        let guards = bench.guards();
        guards.expect("cluster-1");
        let ready = Ready { guards, ready: watch::Sender::new(true).subscribe() };
        let pods = Pods::new(bench.state.clone(), Arc::new(Gate::Ready(ready)));
        assert_eq!(pods.find("shop", "web").await, Err(NoHostPod::NotConfirmed));
    }
}
