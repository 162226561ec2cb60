//! Connections that die without a word, and a syncer that is stopped while nothing answers.

use anyhow::{Context as _, Result, ensure};
use http::{HeaderValue, header};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::fault_proxy::{FaultProxy, any};
use weft_tests::shared::in_own_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::{Options, World};

use super::health::{becomes_ready, is_not_ready};
use crate::planes::both::{Both, at, text};

/// More pods than a syncer has connections while nothing happens.
const CROWD: usize = 20;

/// A world whose syncer runs behind proxies.
async fn world() -> Result<World> {
    let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
    world.tenant().start_syncer().await?;
    Ok(world)
}

fn proxies(tenant: &Tenant) -> Result<[&FaultProxy; 2]> {
    Ok([tenant.host_proxy()?, tenant.virtual_proxy()?])
}

#[test]
fn connections_that_have_died_silently_are_replaced() -> Result<()> {
    in_own_world(async {
        let world = world().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        both.create_pod("before", json!({})).await?;
        both.runs("before").await?;
        for proxy in proxies(tenant)? {
            proxy.freeze_open_connections();
        }
        both.create_pod("after", json!({})).await?;
        both.delete::<Pod>("before").await?;
        // Sooner than any watch ends by itself.
        both.runs("after").await?;
        both.gone::<Pod>("before").await?;
        becomes_ready(tenant).await
    })
}

#[test]
fn a_way_that_goes_silent_is_reported_with_its_side_and_the_syncer_heals_and_stops() -> Result<()> {
    in_own_world(async {
        let world = world().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        both.create_pod("web", json!({})).await?;
        both.runs("web").await?;
        for (proxy, side) in proxies(tenant)?.into_iter().zip(["host", "virtual"]) {
            proxy.freeze();
            is_not_ready(tenant, &[side, "API server"]).await?;
            proxy.thaw();
            becomes_ready(tenant).await?;
        }
        both.delete::<Pod>("web").await?;
        both.gone::<Pod>("web").await?;

        for proxy in proxies(tenant)? {
            proxy.freeze();
        }
        both.create_pod("late", json!({})).await?;
        // It ends by itself while requests hang; a killed one fails here.
        tenant.stop_syncer().await?;
        tenant.launch_syncer()?;
        is_not_ready(tenant, &["host API server", "virtual API server"]).await?;
        tenant.stop_syncer().await?;
        for proxy in proxies(tenant)? {
            proxy.thaw();
        }
        tenant.start_syncer().await?;
        both.runs("late").await.map(drop)
    })
}

#[test]
fn connections_that_are_cut_are_opened_again_without_a_new_list() -> Result<()> {
    in_own_world(async {
        let world = world().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let lists = |proxy: &FaultProxy| proxy.count(&weft_tests::fault_proxy::lists("pods"));
        let before = proxies(tenant)?.map(lists);
        for round in 0..3 {
            let name = format!("web-{round}");
            both.create_pod(&name, json!({})).await?;
            for proxy in proxies(tenant)? {
                proxy.cut_connections();
            }
            both.runs(&name).await?;
        }
        // As a server does that wants its clients to go to others: that it says so in a frame is for HTTP/2 alone.
        let ended = proxies(tenant)?
            .map(|proxy| proxy.rule(any("*").header(header::CONNECTION, HeaderValue::from_static("close"))));
        both.create_pod("each-on-its-own", json!({})).await?;
        both.runs("each-on-its-own").await.context("while each connection ends with its answer")?;
        for (proxy, ended) in proxies(tenant)?.into_iter().zip(ended) {
            ended.at_least(3).await?;
            proxy.clear();
        }
        ensure!(proxies(tenant)?.map(lists) == before, "pods were listed again");

        for proxy in proxies(tenant)? {
            proxy.freeze_new_connections();
            // Those that nobody uses at the moment would do.
            proxy.cut_connections();
        }
        // They wait for connections that are accepted and never answer.
        for number in 0..CROWD {
            both.create_pod(&format!("crowd-{number}"), json!({})).await?;
        }
        is_not_ready(tenant, &["on the host API server"]).await?;
        for proxy in proxies(tenant)? {
            proxy.thaw();
        }
        for number in 0..CROWD {
            both.runs(&format!("crowd-{number}")).await?;
        }
        eventually("all pods run", SOON, async || {
            let pod = both.get::<Pod>("web-0").await?;
            ensure!(text(&pod, "/status/phase") == "Running", "{}", at(&pod, "/status"));
            Ok(())
        })
        .await
    })
}
