//! Controllers of the virtual cluster do their work with pods that run on the host.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::shared::{in_own_world, in_shared_world};
use weft_tests::world::World;

use super::place::{Place, at, ensure_at, patch, phase, pod};

/// Twenty pods on a busy machine.
const LATER: Duration = Duration::from_mins(1);
/// Long enough for a wrong step to be taken, such as the sweep that creates nodes.
const A_WHILE: Duration = Duration::from_secs(12);

/// A workload object with one container, and what `more` adds to its spec.
pub(super) fn workload(name: &str, more: Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": "nginx:1"}]},
        },
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Waits until a Deployment has as many ready pods of its newest template as it wants, and no others.
pub(super) async fn rolled_out(place: &Place, name: &str, replicas: i32) -> Result<()> {
    eventually(&format!("{name} has {replicas} ready pods and no others"), LATER, async || {
        let deployment = place.on_virtual::<Deployment>().get(name).await?;
        let status = deployment.status.clone().unwrap_or_default();
        ensure!(status.observed_generation == deployment.metadata.generation, "{status:?}");
        let seen = [status.replicas, status.updated_replicas, status.ready_replicas];
        ensure!(seen.map(Option::unwrap_or_default) == [replicas; 3], "{status:?}");
        let host_pods = place.host_objects::<Pod>().await?;
        let running = host_pods.iter().filter(|pod| phase(pod) == "Running").count();
        let all = usize::try_from(replicas)?;
        ensure!((host_pods.len(), running) == (all, all), "{running} of {} host pods run", host_pods.len());
        Ok(())
    })
    .await
}

#[test]
fn a_deployment_rolls_out_a_new_image() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.create::<Deployment>(workload("web", json!({"replicas": 3}))).await?;
        rolled_out(&place, "web", 3).await?;
        let image = json!({"containers": [{"name": "main", "image": "nginx:2"}]});
        let image = Patch::Strategic(json!({"spec": {"template": {"spec": image}}}));
        place.on_virtual::<Deployment>().patch("web", &PatchParams::default(), &image).await?;
        rolled_out(&place, "web", 3).await?;
        for host_pod in place.host_objects::<Pod>().await? {
            ensure_at(&host_pod, "/spec/containers/0/image", &json!("nginx:2"))?;
        }
        Ok(())
    })
}

#[test]
fn a_deployment_scales_to_twenty_and_back_to_nothing() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.create::<Deployment>(workload("web", json!({"replicas": 0}))).await?;
        for replicas in [20, 0] {
            let scale = json!({"spec": {"replicas": replicas}});
            patch(&place.on_virtual::<Deployment>(), "web", scale).await?;
            rolled_out(&place, "web", replicas).await?;
        }
        Ok(())
    })
}

#[test]
fn the_pods_of_a_stateful_set_keep_their_names() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let set = workload("db", json!({"replicas": 2, "serviceName": "db"}));
        place.create::<StatefulSet>(set).await?;
        for name in ["db-0", "db-1"] {
            let pair = eventually(&format!("{name} is there"), SOON, async || place.pair(name).await).await?;
            ensure_at(&pair.host_pod, "/spec/hostname", &json!(name))?;
            if name == "db-1" {
                let first = place.pair("db-0").await?.virtual_pod;
                ensure!(phase(&first) == "Running", "db-1 came before db-0 ran: {:#?}", first.status);
            }
        }
        let before = place.running("db-0").await?;
        place.delete::<Pod>("db-0").await?;
        place.gone(&before).await?;
        let after = eventually("db-0 is made again", SOON, async || place.pair("db-0").await).await?;
        place.running("db-0").await?;
        ensure!(after.host_pod.name_any() == before.host_pod.name_any(), "{}", after.host_pod.name_any());
        ensure_at(&after.host_pod, "/spec/hostname", &json!("db-0"))
    })
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_that_the_tenant_sees() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        // Nodes come with the first pods that run on them.
        place.run(pod("first", json!({}))).await?;
        place.create::<DaemonSet>(workload("agent", json!({}))).await?;
        eventually("every node has a ready pod of the set", SOON, async || {
            let nodes = place.all_virtual::<Node>().list(&ListParams::default()).await?.items;
            let set = place.on_virtual::<DaemonSet>().get("agent").await?;
            let status = set.status.unwrap_or_default();
            let seen = (status.desired_number_scheduled, status.number_ready);
            let all = i32::try_from(nodes.len())?;
            ensure!(all > 0 && seen == (all, all), "{all} nodes, desired and ready are {seen:?}");
            let pods = place.on_virtual::<Pod>().list(&ListParams::default().labels("app=agent")).await?;
            for agent in pods.items {
                let pair = place.pair(&agent.name_any()).await?;
                let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
                let wanted =
                    at(&pair.virtual_pod, &format!("{terms}/nodeSelectorTerms/0/matchFields/0/values/0"))?;
                ensure_at(&pair.host_pod, "/spec/nodeName", &wanted)?;
            }
            Ok(())
        })
        .await
    })
}

#[test]
fn nodes_of_tenants_and_taints_on_ours_neither_cost_pods_nor_make_nodes() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let place = Place::of(world.tenant(), "default").await?;
        let nodes = place.all_virtual::<Node>();
        let first = place.run(pod("first", json!({}))).await?;
        let node = at(&first.host_pod, "/spec/nodeName")?.as_str().context("no node")?.to_owned();

        // A virtual kubelet's node with a pod that runs there, and a node that is made up.
        let theirs = serde_json::from_value(json!({"metadata": {"name": "theirs"}}))?;
        nodes.create(&PostParams::default(), &theirs).await?;
        for (name, on) in [("on-theirs", "theirs"), ("made-up", "nowhere")] {
            place.create::<Pod>(pod(name, json!({"nodeName": on}))).await?;
        }
        let pods = place.on_virtual::<Pod>();
        let runs = json!({"status": {
            "phase": "Running", "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
        }});
        pods.patch_status("on-theirs", &PatchParams::default(), &Patch::Merge(runs)).await?;

        // Our node is cordoned, and tainted so that the virtual cluster evicts what runs there.
        place.create::<Deployment>(workload("web", json!({"replicas": 1}))).await?;
        let available = async || {
            let web = place.on_virtual::<Deployment>().get("web").await?.status.unwrap_or_default();
            ensure!(web.available_replicas == Some(1), "{web:?}");
            Ok(())
        };
        eventually("the deployment is available", SOON, available).await?;
        let spoilt = json!({"spec": {
            "unschedulable": true, "taints": [{"key": "example.com/gone", "value": "yes", "effect": "NoExecute"}],
        }});
        nodes.patch(&node, &PatchParams::default(), &Patch::Merge(spoilt)).await?;
        eventually("the node's spec is ours again", SOON, async || {
            let spec = nodes.get(&node).await?.spec.unwrap_or_default();
            let is_clean =
                spec.taints.is_none_or(|taints| taints.is_empty()) && spec.unschedulable != Some(true);
            ensure!(is_clean, "it is not");
            Ok(())
        })
        .await?;
        eventually("the deployment is available", SOON, available).await?;
        always(
            "the tenant's pods are left alone, and no more are made than one eviction takes",
            A_WHILE,
            async || {
                let kept = pods.get("on-theirs").await?;
                ensure!(kept.metadata.deletion_timestamp.is_none(), "{kept:?}");
                ensure!(nodes.get_opt("nowhere").await?.is_none(), "a tenant's word made a node");
                let on_host: Vec<String> =
                    place.host_objects::<Pod>().await?.iter().map(ResourceExt::name_any).collect();
                let is_of = |name: &str| on_host.iter().any(|host| *host == place.host_name(name));
                ensure!(!is_of("on-theirs") && !is_of("made-up"), "{on_host:?}");
                let of_web = on_host.iter().filter(|host| host.starts_with("web-")).count();
                ensure!(of_web <= 2, "{on_host:?}");
                Ok(())
            },
        )
        .await
    })
}
