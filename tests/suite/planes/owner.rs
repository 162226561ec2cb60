//! The host Service that owns everything is deleted and made again: what is created then belongs to the new one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::shared::in_own_world;
use weft_tests::world::World;

use super::place::{Place, ensure_at, pod};

/// Longer than the host's garbage collector takes to find an object whose owner is gone.
const COLLECTED: Duration = Duration::from_secs(10);

/// Deletes the Service and makes it again; returns the new one.
async fn recreate(place: &Place, name: &str) -> Result<Service> {
    let services = place.on_host::<Service>();
    let mut service = services.get(name).await?;
    let old = service.uid();
    services.delete(name, &DeleteParams::background()).await?;
    service.metadata.uid = None;
    service.metadata.resource_version = None;
    service.metadata.creation_timestamp = None;
    service.metadata.annotations = None;
    let again = eventually("the Service is made again", SOON, async || {
        Ok(services.create(&PostParams::default(), &service).await?)
    })
    .await?;
    ensure!(again.uid() != old, "it is another object");
    Ok(again)
}

#[test]
fn what_is_created_after_the_owner_was_made_again_is_not_collected() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let place = Place::of(world.tenant(), "default").await?;
        place.run(pod("early", json!({}))).await?;
        let owner = recreate(&place, world.tenant().cluster()).await?;
        let pair = place.run(pod("late", json!({}))).await?;
        let uid = owner.uid().context("no UID")?;
        ensure_at(&pair.host_pod, "/metadata/ownerReferences/0/uid", &json!(uid))?;
        always("the host pod stays", COLLECTED, async || {
            let host_pod = place.on_host::<Pod>().get(&pair.host_pod.name_any()).await?;
            ensure!(host_pod.uid() == pair.host_pod.uid(), "it is another one");
            ensure!(host_pod.metadata.deletion_timestamp.is_none(), "it is being deleted");
            Ok(())
        })
        .await
    })
}
