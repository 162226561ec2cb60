//! Answers that come byte by byte: what is behind them is found all the same, and others do not wait for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use weft_tests::fault_proxy::{lists, watches};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::health::becomes_ready;
use crate::planes::both::Both;

/// No object comes whole at this pace.
const PACE: Duration = Duration::from_secs(1);

#[test]
fn pods_whose_watches_come_byte_by_byte_are_synced_all_the_same() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let proxies = [tenant.host_proxy()?, tenant.virtual_proxy()?];
        let listed = tenant.virtual_proxy()?.rule(lists("services").slow_body(PACE));
        tenant.launch_syncer()?;
        listed.at_least(1).await?;
        ensure!(tenant.probe("/readyz").await.is_err(), "it is ready without a list");
        tenant.virtual_proxy()?.clear();
        becomes_ready(tenant).await?;

        let slow = proxies.map(|proxy| proxy.rule(watches("pods").slow_body(PACE)));
        for proxy in proxies {
            proxy.cut_connections();
        }
        both.create_pod("web", json!({})).await?;
        both.runs("web").await.context("through watches that show nothing in time")?;
        for slow in slow {
            slow.at_least(1).await?;
        }
        Ok(())
    })
}
