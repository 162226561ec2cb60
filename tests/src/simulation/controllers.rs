//! The controllers of both clusters, as far as the syncer depends on them: scheduler, kubelet, volume binder, and the garbage
//! collectors of what has owners and of pods.
//!
//! They act between the steps of a schedule, and see the servers as they are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::invariants::text;
use super::network::Side;
use super::world::{NAMESPACE, World};

const NODES: [&str; 2] = ["node-1", "node-2"];
const PODS: &str = "/api/v1/namespaces/team-a/pods";
const CLAIMS: &str = "/api/v1/namespaces/team-a/persistentvolumeclaims";
/// How long a node may be away before its pods are collected, as in Kubernetes.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Kinds whose objects may have owners.
const OWNED: [(&str, &str); 7] = [
    ("", "pods"),
    ("", "services"),
    ("", "configmaps"),
    ("", "secrets"),
    ("", "persistentvolumeclaims"),
    ("", "endpoints"),
    ("discovery.k8s.io", "endpointslices"),
];

impl World {
    /// Does what is due; returns whether anything was.
    pub fn control(&self) -> bool {
        let pods = self.host.objects("", "pods");
        let mut has_acted = false;
        for pod in pods.iter().filter(|pod| text(pod, "/metadata/namespace") == NAMESPACE) {
            has_acted |= self.kubelet(pod);
        }
        for claim in self.host.objects("", "persistentvolumeclaims") {
            has_acted |= self.bind_claim(&claim);
        }
        for side in [Side::Host, Side::Virtual] {
            has_acted |= self.release_claims(side) | self.collect(side);
        }
        has_acted |= self.collect_pods();
        self.network.look();
        has_acted
    }

    fn kubelet(&self, pod: &Arc<Value>) -> bool {
        let path = format!("{PODS}/{}", text(pod, "/metadata/name"));
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            let uid = text(pod, "/metadata/uid");
            return self.delete(
                Side::Host,
                &path,
                &json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}),
            ) == 200;
        }
        if text(pod, "/spec/nodeName").is_empty() {
            if self.loses_claim(pod) {
                return false;
            }
            let is_first = text(pod, "/metadata/name").len().is_multiple_of(2);
            let node = if is_first { NODES[0] } else { NODES[1] };
            let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
            let binding = json!({"metadata": {"name": text(pod, "/metadata/name")}, "target": target});
            return self.create(Side::Host, &format!("{path}/binding"), &binding) == 201;
        }
        if text(pod, "/status/phase") != "Pending" || !self.has_volumes(pod) {
            return false;
        }
        let container = json!({"name": "main", "ready": true, "started": true, "restartCount": 0, "image": "nginx:1",
            "imageID": "sha256:1", "containerID": "containerd://1", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}});
        let address = format!("10.244.0.{}", text(pod, "/metadata/name").len());
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [container],
        }});
        self.patch(Side::Host, &format!("{path}/status"), &status) == 200
    }

    /// Whether everything is there that the pod mounts.
    fn has_volumes(&self, pod: &Value) -> bool {
        volumes(pod).all(|volume| {
            let named = [
                ("configmaps", text(volume, "/configMap/name")),
                ("secrets", text(volume, "/secret/secretName")),
                ("persistentvolumeclaims", text(volume, "/persistentVolumeClaim/claimName")),
            ];
            named.iter().all(|(plural, name)| {
                name.is_empty() || self.host.object("", plural, NAMESPACE, name).is_some()
            })
        })
    }

    /// Whether a claim that the pod mounts is being deleted: the scheduler lets such a pod wait.
    fn loses_claim(&self, pod: &Value) -> bool {
        volumes(pod).any(|volume| {
            let name = text(volume, "/persistentVolumeClaim/claimName");
            let claim = self.host.object("", "persistentvolumeclaims", NAMESPACE, name);
            claim.is_some_and(|claim| claim.pointer("/metadata/deletionTimestamp").is_some())
        })
    }

    fn bind_claim(&self, claim: &Value) -> bool {
        let name = text(claim, "/metadata/name");
        let is_new = text(claim, "/spec/volumeName").is_empty() && text(claim, "/status/phase") == "Pending";
        if !is_new || claim.pointer("/metadata/deletionTimestamp").is_some() {
            return false;
        }
        let volume = format!("pvc-{}", text(claim, "/metadata/uid"));
        let capacity = json!({"storage": "1Gi"});
        let spec = json!({"capacity": capacity, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {"kind": "PersistentVolumeClaim", "namespace": NAMESPACE, "name": name, "uid": text(claim, "/metadata/uid")},
            "hostPath": {"path": "/data"}});
        self.create(
            Side::Host,
            "/api/v1/persistentvolumes",
            &json!({"metadata": {"name": volume}, "spec": spec}),
        );
        self.patch(Side::Host, &format!("{CLAIMS}/{name}"), &json!({"spec": {"volumeName": volume}}));
        let status =
            json!({"status": {"phase": "Bound", "capacity": capacity, "accessModes": ["ReadWriteOnce"]}});
        self.patch(Side::Host, &format!("{CLAIMS}/{name}/status"), &status) == 200
    }

    /// Lets claims go that are deleted and that no pod uses which has a node.
    fn release_claims(&self, side: Side) -> bool {
        let server = self.server(side);
        let pods = server.objects("", "pods");
        let mut has_acted = false;
        for claim in server.objects("", "persistentvolumeclaims") {
            let (namespace, name) = (text(&claim, "/metadata/namespace"), text(&claim, "/metadata/name"));
            let is_used = pods.iter().any(|pod| {
                let is_named = |volume: &Value| text(volume, "/persistentVolumeClaim/claimName") == name;
                let has_node = !text(pod, "/spec/nodeName").is_empty();
                text(pod, "/metadata/namespace") == namespace && has_node && volumes(pod).any(is_named)
            });
            let has_finalizers = claim.pointer("/metadata/finalizers").is_some();
            if claim.pointer("/metadata/deletionTimestamp").is_some() && has_finalizers && !is_used {
                let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}");
                has_acted |= self.patch(side, &path, &json!({"metadata": {"finalizers": null}})) == 200;
            }
        }
        has_acted
    }

    /// Deletes virtual pods whose nodes have not been there for a while.
    fn collect_pods(&self) -> bool {
        let mut lost = self.lost.borrow_mut();
        let pods = self.r#virtual.objects("", "pods");
        let is_lost = |pod: &&Arc<Value>| {
            let node = text(pod, "/spec/nodeName");
            !node.is_empty() && self.r#virtual.object("", "nodes", "", node).is_none()
        };
        let now: Vec<&Arc<Value>> = pods.iter().filter(is_lost).collect();
        lost.retain(|uid, _| now.iter().any(|pod| text(pod, "/metadata/uid") == uid));
        let mut has_acted = false;
        for pod in now {
            let since = *lost.entry(text(pod, "/metadata/uid").to_owned()).or_insert(self.age());
            if self.age().saturating_sub(since) > QUARANTINE {
                let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
                let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
                has_acted |= self.delete(Side::Virtual, &path, &json!({"gracePeriodSeconds": 0})) == 200;
            }
        }
        has_acted
    }

    /// Deletes what has owners of which none is there.
    fn collect(&self, side: Side) -> bool {
        let server = self.server(side);
        let all: Vec<(&str, &str, Arc<Value>)> = OWNED
            .iter()
            .flat_map(|(group, plural)| {
                server.objects(group, plural).into_iter().map(move |object| (*group, *plural, object))
            })
            .collect();
        let uids: BTreeSet<&str> = all.iter().map(|(_, _, object)| text(object, "/metadata/uid")).collect();
        let mut has_acted = false;
        for (group, plural, object) in &all {
            let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
            let Some(owners) = owners.filter(|owners| !owners.is_empty()) else { continue };
            let is_lost = !owners.iter().any(|owner| uids.contains(text(owner, "/uid")));
            if is_lost && object.pointer("/metadata/deletionTimestamp").is_none() {
                let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
                let base = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
                let options = json!({"preconditions": {"uid": text(object, "/metadata/uid")}});
                let path = format!("{base}/namespaces/{namespace}/{plural}/{name}");
                has_acted |= self.delete(side, &path, &options) == 200;
            }
        }
        has_acted
    }
}

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten()
}
