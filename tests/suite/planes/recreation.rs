//! Names that are used again, and namespaces that go.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret, Service};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::shared::in_shared_world;

use super::place::{Place, phase, pod};

/// Long enough for a wrong second step to be taken.
const A_WHILE: Duration = Duration::from_secs(1);

#[test]
fn a_pod_made_again_under_its_name_is_another_pod_on_the_host_too() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let mut last = place.run(pod("web", json!({}))).await?;
        for _ in 0..10 {
            // Not by force: the fake kubelet asks for deletions by name alone, and late ones would hit the new pod.
            place.delete::<Pod>("web").await?;
            place.create::<Pod>(pod("web", json!({}))).await?;
            let next = place.running("web").await?;
            ensure!(next.virtual_pod.uid() != last.virtual_pod.uid(), "the virtual pod is the old one");
            ensure!(next.host_pod.uid() != last.host_pod.uid(), "the host pod is the old one");
            last = next;
        }
        ensure_no_warnings(&place).await
    })
}

#[test]
fn a_new_pod_waits_until_the_old_one_of_its_name_has_ended() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let old = place.run(pod("web", json!({}))).await?;
        place.hold(&old).await?;
        place.on_virtual::<Pod>().delete("web", &DeleteParams::default().grace_period(0)).await?;
        let new: Pod = place.create(pod("web", json!({}))).await?;
        always("the new pod waits", A_WHILE, async || {
            let waiting = place.on_virtual::<Pod>().get("web").await?;
            ensure!(waiting.uid() == new.uid() && phase(&waiting) == "Pending", "{waiting:#?}");
            Ok(())
        })
        .await?;
        place.let_go(&old).await?;
        let pair = place.running("web").await?;
        ensure!(
            pair.virtual_pod.uid() == new.uid() && pair.host_pod.uid() != old.host_pod.uid(),
            "{pair:#?}"
        );
        ensure_no_warnings(&place).await
    })
}

#[test]
fn a_deleted_namespace_leaves_nothing_on_the_host() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "1"}})).await?;
        place.create::<Secret>(json!({"metadata": {"name": "key"}, "stringData": {"a": "1"}})).await?;
        let ports = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
        place.create::<Service>(json!({"metadata": {"name": "web"}, "spec": ports})).await?;
        let sources = json!([{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "key"}}]);
        let containers = json!([{"name": "main", "image": "nginx:1", "envFrom": sources}]);
        for number in 0..5 {
            place.run(pod(&format!("web-{number}"), json!({"containers": containers}))).await?;
        }
        let there = counts(&place).await?;
        ensure!(there.iter().all(|(_, count)| *count > 0), "the host has {there:?}");

        place.all_virtual::<Namespace>().delete(namespace, &DeleteParams::default()).await?;
        eventually("the namespace is gone, and the host has nothing of it", SOON, async || {
            let left = counts(&place).await?;
            ensure!(left.iter().all(|(_, count)| *count == 0), "the host has {left:?}");
            let left = place.all_virtual::<Namespace>().get_opt(namespace).await?;
            ensure!(left.is_none(), "the namespace is {:?}", left.and_then(|left| left.status));
            Ok(())
        })
        .await
    })
}

/// What happened was nothing to bother the tenant with.
async fn ensure_no_warnings(place: &Place) -> Result<()> {
    let events = place.on_virtual::<Event>().list(&ListParams::default()).await?.items;
    let ours = events.iter().filter(|event| event.reporting_component.as_deref() == Some("weft"));
    let ours: Vec<_> = ours.map(|event| (&event.reason, &event.message)).collect();
    ensure!(ours.is_empty(), "there was nothing to warn the tenant of: {ours:?}");
    Ok(())
}

/// How many objects of the virtual namespace the host has.
async fn counts(place: &Place) -> Result<[(&'static str, usize); 4]> {
    Ok([
        ("pods", place.host_objects::<Pod>().await?.len()),
        ("services", place.host_objects::<Service>().await?.len()),
        ("configmaps", place.host_objects::<ConfigMap>().await?.len()),
        ("secrets", place.host_objects::<Secret>().await?.len()),
    ])
}
