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
    words: [&'static str; 2],
}

/// What the host and the virtual API server refuse at the same time.
fn rounds() -> Vec<[Refusal; 2]> {
    let all = |with, words| Refusal { what: vec![any("*")], with, words };
    let kind = |plural, with, words| Refusal { what: vec![lists(plural), watches(plural)], with, words };
    vec![
        [
            all((401, "Unauthorized"), ["the host API server", "401"]),
            all((500, "InternalError"), ["the virtual API server", "500"]),
        ],
        [
            all((503, "ServiceUnavailable"), ["the host API server", "503 Service"]),
            all((403, "Forbidden"), ["the virtual API server", "403"]),
        ],
        [
            kind("pods", (403, "Forbidden"), ["v1/Pod on the host API server", "403"]),
            kind("configmaps", (500, "InternalError"), ["v1/ConfigMap on the virtual API server", "500"]),
        ],
    ]
}

#[test]
fn what_is_needed_and_refused_is_reported_until_it_is_allowed() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        tenant.start_syncer().await?;
        let proxies = [tenant.host_proxy()?, tenant.virtual_proxy()?];
        for refusals in rounds() {
            let words = refusals.iter().flat_map(|refusal| refusal.words).collect::<Vec<_>>();
            refused(proxies, tenant, refusals).await.with_context(|| format!("{words:?}"))?;
        }
        both.create_pod("web", json!({})).await?;
        both.runs("web").await.map(drop)
    })
}

async fn refused(proxies: [&FaultProxy; 2], tenant: &Tenant, refusals: [Refusal; 2]) -> Result<()> {
    let mut expected = Vec::new();
    for (proxy, Refusal { what, with: (code, reason), words }) in proxies.into_iter().zip(refusals) {
        for matcher in what {
            proxy.rule(matcher.answer(code, reason));
        }
        // A refusal does not end the watches that are open.
        proxy.cut_connections();
        expected.extend(words);
    }
    is_not_ready(tenant, &expected).await?;
    for proxy in proxies {
        proxy.clear();
    }
    becomes_ready(tenant).await
}
