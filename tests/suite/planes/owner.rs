//! What is deleted on the host that much depends on: the Service of the virtual API server, which takes nothing with it, and
//! the ConfigMap that owns the host objects, which takes no data.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Service};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::shared::in_own_world;
use weft_tests::world::World;

use super::place::{Kind, Pair, Place, ensure_at, pod};

/// Longer than the host's garbage collector takes to find an object whose owner is gone.
const COLLECTED: Duration = Duration::from_secs(10);

fn claim(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "standard", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

/// A pod with a bound claim.
async fn with_data(place: &Place, name: &str) -> Result<(Pair, PersistentVolumeClaim)> {
    place.create::<PersistentVolumeClaim>(claim(name)).await?;
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": name}}]);
    let pair = place.run(pod(name, json!({"volumes": volumes}))).await?;
    let claim = eventually("the claim is bound", SOON, async || {
        let claim = place.on_virtual::<PersistentVolumeClaim>().get(name).await?;
        ensure_at(&claim, "/status/phase", &json!("Bound"))?;
        Ok(place.on_host::<PersistentVolumeClaim>().get(&place.host_name(name)).await?)
    })
    .await?;
    Ok((pair, claim))
}

/// Fails unless the object is there, and goes on being there.
async fn is_kept<K: Kind>(api: &Api<K>, object: &K) -> Result<()> {
    let found = api.get(&object.name_any()).await?;
    ensure!(found.uid() == object.uid(), "it is another one: {found:?}");
    ensure!(found.meta().deletion_timestamp.is_none(), "it is being deleted: {found:?}");
    Ok(())
}

/// An object as it is made again.
async fn as_new<K: Kind>(api: &Api<K>, name: &str) -> Result<K> {
    let mut object = api.get(name).await?;
    let metadata = object.meta_mut();
    (metadata.uid, metadata.resource_version, metadata.creation_timestamp) = (None, None, None);
    metadata.annotations = None;
    Ok(object)
}

#[test]
fn a_service_that_is_deleted_takes_nothing_with_it_and_an_owner_that_is_no_data() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let (place, cluster) = (Place::of(world.tenant(), "default").await?, world.tenant().cluster());
        let (pair, claim) = with_data(&place, "early").await?;
        ensure_at(&claim, "/metadata/ownerReferences", &Value::Null)?;

        let services = place.on_host::<Service>();
        let service = as_new(&services, cluster).await?;
        services.delete(cluster, &DeleteParams::background()).await?;
        always("the pod and its data stay", COLLECTED, async || {
            is_kept(&place.on_host(), &pair.host_pod).await?;
            is_kept(&place.on_host(), &claim).await
        })
        .await?;
        eventually("the Service is made again", SOON, async || {
            Ok(services.create(&PostParams::default(), &service).await?)
        })
        .await?;
        // Work goes on.
        place.run(pod("between", json!({}))).await?;
        is_kept(&place.on_virtual(), &pair.virtual_pod).await?;

        let owners = place.on_host::<ConfigMap>();
        let owner = owners.get(cluster).await?;
        owners.delete(cluster, &DeleteParams::background()).await?;
        let again = eventually("the owner is made again", SOON, async || {
            let again = owners.get(cluster).await?;
            ensure!(again.uid() != owner.uid(), "it is still there");
            Ok(again)
        })
        .await?;
        let late = place.run(pod("late", json!({}))).await?;
        ensure_at(&late.host_pod, "/metadata/ownerReferences/0/uid", &json!(again.uid().context("no UID")?))?;
        always("the data and what is new stay", COLLECTED, async || {
            is_kept(&place.on_host(), &late.host_pod).await?;
            is_kept(&place.on_host(), &claim).await
        })
        .await?;
        let claims = place.on_virtual::<PersistentVolumeClaim>();
        ensure_at(&claims.get("early").await?, "/status/phase", &json!("Bound"))?;
        eventually("an event says what was lost", SOON, async || {
            let events = place.on_host::<Event>().list(&ListParams::default()).await?.items;
            let lost = events.iter().find(|event| event.reason.as_deref() == Some("OwnerLost"));
            let lost = lost.with_context(|| format!("{events:?}"))?;
            ensure!(lost.involved_object.name.as_deref() == Some(cluster), "{lost:?}");
            Ok(())
        })
        .await
    })
}
