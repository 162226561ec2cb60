//! Requests that are never answered: everything else goes on, and what hung is finished afterwards.

use anyhow::{Context as _, Result, bail};
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

/// A machine that is too busy for a heartbeat replaces the client, which ends what hangs before the second pod runs.
const ATTEMPTS: usize = 3;

/// One write of the first pod hangs: the second pod runs all the same, and then the first one does. Says whether the write
/// has hung until the second pod ran.
async fn hangs(world: &World, proxy: &FaultProxy, name: &str, write: Matcher) -> Result<bool> {
    let hung = proxy.rule(write.clone().first(1).hang_before_effect());
    let first = begin(world, &format!("{name}-first")).await?;
    hung.at_least(1).await?;
    let second = begin(world, &format!("{name}-second")).await?;
    second.runs("web").await.context("another pod waits for the request that hangs")?;
    let has_hung = hung.hanging() == 1;
    proxy.clear();
    first.runs("web").await.context("the request that hung is not tried again")?;

    let lost = proxy.rule(write.first(1).hang_after_effect());
    let third = begin(world, &format!("{name}-third")).await?;
    lost.at_least(1).await?;
    proxy.clear();
    third.runs("web").await.context("the request whose reply was held back")?;
    Ok(has_hung)
}

/// The second pod does not wait until the write of the first one is given up.
async fn holds_up_nobody(world: &World, proxy: &FaultProxy, name: &str, write: Matcher) -> Result<()> {
    for attempt in 0..ATTEMPTS {
        if hangs(world, proxy, &format!("{name}-{attempt}"), write.clone()).await? {
            return Ok(());
        }
    }
    bail!("the other pod has waited each time until the request was given up")
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
            holds_up_nobody(&world, proxy, name, write).await.with_context(|| name.to_owned())?;
        }
        Ok(())
    })
}
