//! What the host takes away: evictions, deletions and edits by others than the syncer.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::shared::in_shared_world;

use super::controllers::{rolled_out, workload};
use super::place::{Kind, Pair, Place, ensure_at, identity_uid, patch, phase, pod};

/// Long enough for a wrong second step to be taken.
const A_WHILE: Duration = Duration::from_secs(2);

/// The pod of a Deployment of one.
async fn controlled(place: &Place) -> Result<Pair> {
    place.create::<Deployment>(workload("web", json!({"replicas": 1}))).await?;
    rolled_out(place, "web", 1).await?;
    let pods = place.on_virtual::<Pod>().list(&ListParams::default()).await?.items;
    place.pair(&pods.first().context("the Deployment has no pod")?.name_any()).await
}

/// Waits for the pod that a Deployment makes in place of a lost one.
async fn replaced(place: &Place, lost: &Pair) -> Result<()> {
    eventually("another pod runs in its place", SOON, async || {
        let pods = place.on_virtual::<Pod>().list(&ListParams::default()).await?.items;
        let other = pods.iter().find(|pod| pod.uid() != lost.virtual_pod.uid());
        let pair = place.pair(&other.context("there is no other pod")?.name_any()).await?;
        ensure!(phase(&pair.virtual_pod) == "Running" && phase(&pair.host_pod) == "Running", "{pair:#?}");
        Ok(())
    })
    .await
}

/// Checks that no second host pod is made for a virtual pod that ran.
async fn never_runs_again(place: &Place, lost: &Pair) -> Result<()> {
    always("a pod that ran is not run again", A_WHILE, async || {
        let host_pods = place.host_objects::<Pod>().await?;
        let again = host_pods
            .iter()
            .find(|pod| identity_uid(*pod) == lost.virtual_pod.uid() && pod.uid() != lost.host_pod.uid());
        ensure!(again.is_none(), "{again:#?}");
        Ok(())
    })
    .await
}

async fn virtually_gone(place: &Place, lost: &Pair) -> Result<()> {
    let name = lost.virtual_pod.name_any();
    eventually(&format!("the virtual pod {name} is gone"), SOON, async || {
        let left = place.on_virtual::<Pod>().get_opt(&name).await?;
        ensure!(left.and_then(|pod| pod.uid()) != lost.virtual_pod.uid(), "it is there");
        Ok(())
    })
    .await
}

#[test]
fn a_pod_that_the_kubelet_evicts_has_failed_and_says_why() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("bare", json!({}))).await?;
        let evict = json!({"metadata": {"annotations": {"kubelet.test/evict": ""}}});
        patch(&place.on_host::<Pod>(), &pair.host_pod.name_any(), evict).await?;
        eventually("the virtual pod has failed", SOON, async || {
            let pod = place.on_virtual::<Pod>().get("bare").await?;
            ensure_at(&pod, "/status/phase", &json!("Failed"))?;
            ensure_at(&pod, "/status/reason", &json!("Evicted"))
        })
        .await?;
        never_runs_again(&place, &pair).await
    })
}

#[test]
fn a_controlled_pod_that_the_kubelet_evicts_is_replaced() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = controlled(&place).await?;
        let evict = json!({"metadata": {"annotations": {"kubelet.test/evict": ""}}});
        patch(&place.on_host::<Pod>(), &pair.host_pod.name_any(), evict).await?;
        replaced(&place, &pair).await?;
        never_runs_again(&place, &pair).await
    })
}

#[test]
fn a_pod_evicted_through_the_hosts_api_is_replaced() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = controlled(&place).await?;
        place.on_host::<Pod>().evict(&pair.host_pod.name_any(), &EvictParams::default()).await?;
        virtually_gone(&place, &pair).await?;
        replaced(&place, &pair).await
    })
}

#[test]
fn a_bare_pod_whose_host_pod_is_deleted_goes_and_is_never_run_again() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("bare", json!({}))).await?;
        let host_name = pair.host_pod.name_any();
        place.on_host::<Pod>().delete(&host_name, &DeleteParams::default().grace_period(0)).await?;
        virtually_gone(&place, &pair).await?;
        never_runs_again(&place, &pair).await?;
        ensure!(place.on_virtual::<Pod>().get_opt("bare").await?.is_none(), "it was created again");
        Ok(())
    })
}

#[test]
fn a_controlled_pod_whose_host_pod_is_deleted_is_replaced() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = controlled(&place).await?;
        let host_name = pair.host_pod.name_any();
        place.on_host::<Pod>().delete(&host_name, &DeleteParams::default().grace_period(0)).await?;
        replaced(&place, &pair).await?;
        never_runs_again(&place, &pair).await?;
        rolled_out(&place, "web", 1).await
    })
}

/// Takes away labels or annotations of a host object.
async fn strip<K: Kind>(api: &Api<K>, name: &str, map: &str, keys: &[&str]) -> Result<()> {
    let nothing: Value = keys.iter().map(|key| ((*key).to_owned(), Value::Null)).collect();
    patch(api, name, json!({"metadata": {map: nothing}})).await?;
    Ok(())
}

/// Waits until a host object has our labels or annotations again and is still the same object.
async fn repaired<K: Kind>(api: &Api<K>, before: &K, map: &str, keys: &[&str]) -> Result<()> {
    eventually(&format!("{keys:?} are on the {} again", K::kind(&())), SOON, async || {
        let host = api.get(&before.name_any()).await?;
        ensure!(host.uid() == before.uid(), "it is another object");
        let there = if map == "labels" { host.labels() } else { host.annotations() };
        ensure!(keys.iter().all(|key| there.contains_key(*key)), "there are {there:?}");
        Ok(())
    })
    .await
}

/// Metadata that anybody with permissions on the host can remove from a synced object.
const STRIPPED: [(&str, &[&str]); 5] = [
    ("labels", &["weft.dev/cluster", "weft.dev/namespace"]),
    ("labels", &["weft.dev/namespace"]),
    ("annotations", &["weft.dev/digest", "weft.dev/applied"]),
    ("annotations", &["weft.dev/identity"]),
    ("annotations", &["weft.dev/identity", "weft.dev/digest", "weft.dev/applied"]),
];

#[test]
fn a_host_pod_that_lost_our_metadata_gets_it_back() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("bare", json!({}))).await?;
        let host_pods = place.on_host::<Pod>();
        for (map, keys) in STRIPPED {
            strip(&host_pods, &pair.host_pod.name_any(), map, keys).await?;
            repaired(&host_pods, &pair.host_pod, map, keys).await?;
            let pod = place.on_virtual::<Pod>().get("bare").await?;
            ensure!(pod.uid() == pair.virtual_pod.uid(), "it is another virtual pod");
            ensure!(pod.metadata.deletion_timestamp.is_none(), "the virtual pod is deleted");
        }
        Ok(())
    })
}

#[test]
fn a_host_service_that_lost_our_metadata_gets_it_back() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let ports = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
        place.create::<Service>(json!({"metadata": {"name": "web"}, "spec": ports})).await?;
        let services = place.on_host::<Service>();
        let name = place.host_name("web");
        let host =
            eventually("the Service is on the host", SOON, async || Ok(services.get(&name).await?)).await?;
        for (map, keys) in STRIPPED {
            strip(&services, &name, map, keys).await?;
            repaired(&services, &host, map, keys).await?;
        }
        Ok(())
    })
}

#[test]
fn a_node_that_was_left_with_the_taint_of_new_ones_loses_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("bare", json!({}))).await?;
        let node = pair.virtual_pod.spec.and_then(|spec| spec.node_name).context("the pod has no node")?;
        let nodes = place.all_virtual::<Node>();
        // As a syncer leaves it that ends between the creation and the patch. Other tests share the node: not `NoExecute`.
        let taint = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
        let tainted = Patch::Merge(json!({"spec": {"taints": taint}}));
        nodes.patch(&node, &PatchParams::default(), &tainted).await?;
        eventually("the node has no taint", SOON, async || {
            let taints = nodes.get(&node).await?.spec.and_then(|spec| spec.taints).unwrap_or_default();
            ensure!(taints.is_empty(), "there are {taints:?}");
            Ok(())
        })
        .await
    })
}
