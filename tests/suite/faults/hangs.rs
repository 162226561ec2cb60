//! Requests that are never answered: everything else goes on, and what hung is finished afterwards.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::Api;
use serde_json::json;
use weft_tests::fault_proxy::{FaultProxy, Matcher, patches, posts};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use crate::planes::both::{Both, create};

/// A namespace with a pod that uses a ConfigMap.
async fn begin(world: &World, namespace: &str) -> Result<Both> {
    let both = Both::of(world, namespace).await?;
    create(&Api::<Namespace>::all(both.virtual_client()), json!({"metadata": {"name": namespace}})).await?;
    both.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "1"}})).await?;
    let volumes = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
    both.create_pod("web", json!({"volumes": volumes})).await?;
    Ok(both)
}

/// One write of the first pod hangs: the second pod runs all the same, and then the first one does.
async fn hangs(world: &World, proxy: &FaultProxy, name: &str, write: Matcher) -> Result<()> {
    let hung = proxy.rule(write.clone().first(1).hang_before_effect());
    let first = begin(world, &format!("{name}-first")).await?;
    hung.at_least(1).await?;
    let second = begin(world, &format!("{name}-second")).await?;
    second.runs("web").await.context("another pod waits for the request that hangs")?;
    ensure!(hung.now() == 1, "the other pod has waited until the request was given up");
    proxy.clear();
    first.runs("web").await.context("the request that hung is not tried again")?;

    let lost = proxy.rule(write.first(1).hang_after_effect());
    let third = begin(world, &format!("{name}-third")).await?;
    lost.at_least(1).await?;
    proxy.clear();
    third.runs("web").await.context("the request whose reply was held back").map(drop)
}

#[test]
fn a_request_that_hangs_holds_up_no_other_pod() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let tenant = world.tenant();
        tenant.start_syncer().await?;
        let (host, inner) = (tenant.host_proxy()?, tenant.virtual_proxy()?);
        for (proxy, name, write) in [
            (host, "host-pod", posts("pods")),
            (host, "host-map", posts("configmaps")),
            (inner, "binding", posts("pods/binding")),
            (inner, "token", posts("serviceaccounts/token")),
            (inner, "status", patches("pods/status")),
        ] {
            hangs(&world, proxy, name, write).await.with_context(|| name.to_owned())?;
        }
        Ok(())
    })
}
