//! The end of a pod: both sides end together, with the requested grace period.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::shared::in_shared_world;

use super::place::{Pair, Place, ensure_at, patch, pod, with};

/// Long enough for a wrong second step to be taken.
const A_WHILE: Duration = Duration::from_secs(2);

/// A pod whose host kubelet takes its time, until [`release`].
async fn slow_pod(place: &Place) -> Result<Pair> {
    place.run(with(pod("slow", json!({})), "annotations", json!({"kubelet.test/hold-deletion": ""}))).await
}

/// Lets the kubelet finish.
async fn release(place: &Place, pair: &Pair) -> Result<()> {
    let release = json!({"metadata": {"annotations": {"kubelet.test/hold-deletion": null}}});
    patch(&place.on_host::<Pod>(), &pair.host_pod.name_any(), release).await?;
    Ok(())
}

async fn both_end_with(place: &Place, grace: u32) -> Result<()> {
    eventually(&format!("both pods end with {grace} s of grace"), SOON, async || {
        let pair = place.pair("slow").await?;
        for side in [&pair.virtual_pod, &pair.host_pod] {
            ensure_at(side, "/metadata/deletionGracePeriodSeconds", &json!(grace))?;
        }
        Ok(())
    })
    .await
}

#[test]
fn a_deleted_pod_ends_on_both_sides_with_the_same_grace() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = slow_pod(&place).await?;
        for grace in [600, 300] {
            let delete = DeleteParams::default().grace_period(grace);
            place.on_virtual::<Pod>().delete("slow", &delete).await?;
            both_end_with(&place, grace).await?;
        }
        always("a pod whose kubelet is not done stays", A_WHILE, async || {
            ensure!(
                place.pair("slow").await?.virtual_pod.uid() == pair.virtual_pod.uid(),
                "it is another pod"
            );
            Ok(())
        })
        .await?;
        release(&place, &pair).await?;
        place.gone(&pair).await
    })
}

#[test]
fn a_host_pod_that_ends_takes_its_virtual_pod_along() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = slow_pod(&place).await?;
        let delete = DeleteParams::default().grace_period(700);
        place.on_host::<Pod>().delete(&pair.host_pod.name_any(), &delete).await?;
        both_end_with(&place, 700).await?;
        release(&place, &pair).await?;
        place.gone(&pair).await
    })
}

#[test]
fn a_pod_deleted_by_force_leaves_no_host_pod() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let pair = place.run(pod("web", json!({}))).await?;
        place.hold(&pair).await?;
        place.on_virtual::<Pod>().delete("web", &DeleteParams::default().grace_period(0)).await?;
        ensure!(place.on_virtual::<Pod>().get_opt("web").await?.is_none(), "a force deletion is at once");
        place.let_go(&pair).await?;
        place.gone(&pair).await
    })
}

#[test]
fn a_finalizer_keeps_the_virtual_pod_but_not_its_host_pod() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let kept = with(pod("kept", json!({})), "finalizers", json!(["example.com/keep"]));
        let pair = place.run(kept).await?;
        place.delete::<Pod>("kept").await?;
        let host_name = pair.host_pod.name_any();
        eventually("the host pod is gone", SOON, async || {
            let left = place.on_host::<Pod>().get_opt(&host_name).await?;
            ensure!(left.is_none(), "{left:#?}");
            Ok(())
        })
        .await?;
        always("the virtual pod stays and no second host pod is made", A_WHILE, async || {
            let kept = place.on_virtual::<Pod>().get("kept").await?;
            ensure!(kept.metadata.deletion_timestamp.is_some(), "{kept:#?}");
            ensure!(place.on_host::<Pod>().get_opt(&host_name).await?.is_none(), "there is a host pod");
            Ok(())
        })
        .await?;
        patch(&place.on_virtual::<Pod>(), "kept", json!({"metadata": {"finalizers": Value::Null}})).await?;
        place.gone(&pair).await
    })
}
