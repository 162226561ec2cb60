//! Two virtual clusters on one host never see each other, not even in the same host namespace.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::shared::in_shared_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::World;

use super::place::{Place, at, ensure_at, identity_uid, pod, with};

/// Long enough for a wrong second step to be taken.
const A_WHILE: Duration = Duration::from_secs(2);

/// One virtual namespace of the same name in three clusters: two share a host namespace, two a name.
async fn neighbours(world: &World, namespace: &str) -> Result<([Place; 3], [Tenant; 2])> {
    let first = world.tenant();
    // One after the other: each start is a burst of work.
    let second = world.another_tenant("neighbour", first.namespace(), &json!({})).await?;
    let third = world.another_tenant(first.cluster(), "team-b", &json!({})).await?;
    let places = [
        Place::of(first, namespace).await?,
        Place::fresh(&second, namespace).await?,
        Place::fresh(&third, namespace).await?,
    ];
    Ok((places, [second, third]))
}

/// The same objects everywhere, apart from their content.
async fn furnish(place: &Place, content: &str) -> Result<()> {
    let data = json!({"whose": content});
    place.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": data})).await?;
    place.create::<Secret>(json!({"metadata": {"name": "key"}, "stringData": data})).await?;
    let ports = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
    place.create::<Service>(json!({"metadata": {"name": "web"}, "spec": ports})).await?;
    let sources = json!([{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "key"}}]);
    let containers = json!([{"name": "main", "image": content, "envFrom": sources}]);
    let web = pod("web", json!({"containers": containers}));
    place.run(with(web, "labels", json!({"app": "web"}))).await?;
    Ok(())
}

async fn ensure_undisturbed(place: &Place, content: &str) -> Result<()> {
    let pair = place.pair("web").await?;
    ensure_at(&pair.virtual_pod, "/spec/containers/0/image", &json!(content))?;
    ensure_at(&pair.host_pod, "/spec/containers/0/image", &json!(content))?;
    let copies: Vec<ConfigMap> = place.host_objects().await?;
    let ours = copies.iter().find(|copy| copy.name_any() == place.host_name("settings"));
    ensure_at(ours.context("the ConfigMap is not on the host")?, "/data/whose", &json!(content))?;
    let pods = place.on_virtual::<Pod>().list(&ListParams::default()).await?.items;
    ensure!(pods.len() == 1, "the namespace has the pods of others: {pods:#?}");
    let hosts: Vec<Pod> = place.host_objects().await?;
    ensure!(hosts.len() == 1, "the host has other pods under our labels: {hosts:#?}");
    Ok(())
}

#[test]
fn virtual_clusters_with_the_same_objects_do_not_meet() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let (places, _tenants) = neighbours(world, namespace).await?;
        let contents = ["first:1", "second:1", "third:1"];
        for (place, content) in places.iter().zip(contents) {
            furnish(place, content).await?;
        }
        for (place, content) in places.iter().zip(contents) {
            ensure_undisturbed(place, content).await?;
        }
        let [first, second, third] = &places;

        // A Service finds the pods of its own cluster only, though labels and namespaces are the same.
        for place in &places {
            let service = place.on_host::<Service>().get(&place.host_name("web")).await?;
            let selector = at(&service, "/spec/selector")?;
            let selector: Vec<String> = selector
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect();
            let selected = ListParams::default().labels(&selector.join(","));
            let found = place.on_host::<Pod>().list(&selected).await?.items;
            let own = place.pair("web").await?.virtual_pod.uid();
            ensure!(found.iter().all(|pod| identity_uid(pod) == own), "{selector:?} finds {found:#?}");
        }

        second.all_virtual::<Namespace>().delete(namespace, &DeleteParams::default()).await?;
        eventually("the second cluster's objects are gone", SOON, async || {
            let left: Vec<Pod> = second.host_objects().await?;
            ensure!(left.is_empty(), "{left:#?}");
            Ok(())
        })
        .await?;
        always("the others have lost nothing", A_WHILE, async || {
            ensure_undisturbed(first, contents[0]).await?;
            ensure_undisturbed(third, contents[2]).await
        })
        .await
    })
}

#[test]
fn a_host_object_that_claims_to_be_ours_under_another_name_is_not_trusted() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("web", json!({}))).await?;
        // What a backup tool or a careless `kubectl apply` leaves: a copy with all our metadata.
        let mut copy = serde_json::to_value(&pair.host_pod)?;
        let name = format!("copy-of-{}", pair.host_pod.name_any());
        copy["metadata"]["name"] = json!(name);
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            copy["metadata"][field] = Value::Null;
        }
        copy["status"] = Value::Null;
        copy["spec"]["nodeName"] = Value::Null;
        let copy: Pod = serde_json::from_value(copy)?;
        place.on_host::<Pod>().create(&kube::api::PostParams::default(), &copy).await?;
        place.on_host::<Pod>().delete(&name, &DeleteParams::default().grace_period(0)).await?;
        always("the copy's end is nothing to the virtual pod", A_WHILE, async || {
            let seen = place.pair("web").await?;
            ensure!(seen.host_pod.uid() == pair.host_pod.uid(), "it has another host pod");
            ensure!(seen.virtual_pod.metadata.deletion_timestamp.is_none(), "it is being deleted");
            Ok(())
        })
        .await
    })
}
