//! Readiness: what is needed and fails is reported with its side, and healing is noticed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use weft_tests::eventually::eventually;
use weft_tests::fault_proxy::{FaultProxy, Matcher, any, lists, watches};
use weft_tests::planes::{Component, Plane};
use weft_tests::shared::in_own_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::{Options, World};

use crate::planes::both::Both;

/// How long a change of readiness may take on a busy machine; alone it takes fifteen seconds at most.
const NOTICED: Duration = Duration::from_mins(1);

/// Waits until the syncer is not ready for a reason with these words, while it lives.
pub(super) async fn is_not_ready(tenant: &Tenant, words: &[&str]) -> Result<()> {
    eventually(&format!("it is not ready because of {words:?}"), NOTICED, async || {
        tenant.probe("/livez").await?;
        let reason = tenant.probe("/readyz").await.err().context("it is ready")?.to_string();
        ensure!(reason.contains(" 503 ") && words.iter().all(|word| reason.contains(word)), "{reason}");
        Ok(())
    })
    .await
}

/// Waits until the syncer is ready.
pub(super) async fn becomes_ready(tenant: &Tenant) -> Result<()> {
    eventually("it is ready", NOTICED, async || tenant.probe("/readyz").await.map(drop)).await
}

#[test]
fn a_server_that_is_away_is_reported_until_it_is_back() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let tenant = world.tenant();
        for (plane, side) in [(tenant.host_plane(), "host"), (tenant.virtual_plane(), "virtual")] {
            away(plane, tenant, side).await.with_context(|| format!("the {side} was away"))?;
        }
        Ok(())
    })
}

async fn away(plane: &Plane, tenant: &Tenant, side: &str) -> Result<()> {
    plane.kill_component(Component::ApiServer)?;
    is_not_ready(tenant, &[side, "API server"]).await?;
    plane.start_component(Component::ApiServer).await?;
    becomes_ready(tenant).await
}

/// What a server refuses, with what, and what the reason names.
struct Refusal {
    what: Vec<Matcher>,
    with: (u16, &'static str),
    words: &'static [&'static str],
}

fn refusals() -> Vec<Refusal> {
    let all = || vec![any("*")];
    let pods = || vec![lists("pods"), watches("pods")];
    let maps = || vec![lists("configmaps"), watches("configmaps")];
    vec![
        Refusal { what: all(), with: (401, "Unauthorized"), words: &["API server", "401"] },
        Refusal { what: all(), with: (403, "Forbidden"), words: &["API server", "403"] },
        Refusal { what: all(), with: (500, "InternalError"), words: &["API server", "500"] },
        Refusal { what: pods(), with: (403, "Forbidden"), words: &["Pod", "403"] },
        Refusal { what: maps(), with: (500, "InternalError"), words: &["ConfigMap", "500"] },
    ]
}

#[test]
fn what_is_needed_and_refused_is_reported_until_it_is_allowed() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        tenant.start_syncer().await?;
        for (proxy, side) in [(tenant.host_proxy()?, "host"), (tenant.virtual_proxy()?, "virtual")] {
            for refusal in refusals() {
                let case = format!("{side}: {:?}", refusal.with);
                refused(proxy, tenant, side, refusal).await.context(case)?;
            }
        }
        both.create_pod("web", json!({})).await?;
        both.runs("web").await.map(drop)
    })
}

async fn refused(proxy: &FaultProxy, tenant: &Tenant, side: &str, refusal: Refusal) -> Result<()> {
    let Refusal { what, with: (code, reason), words } = refusal;
    for matcher in what {
        proxy.rule(matcher.answer(code, reason));
    }
    // A refusal does not end the watches that are open.
    proxy.cut_connections();
    is_not_ready(tenant, &[&[side], words].concat()).await?;
    proxy.clear();
    becomes_ready(tenant).await
}
