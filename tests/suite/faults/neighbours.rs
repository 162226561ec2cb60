//! The trouble of one namespace is its own: hung webhooks, wishes for rest, refusals and fights cost the others nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, ResourceQuota};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use weft_tests::eventually::eventually;
use weft_tests::fault_proxy::{patches, posts};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use crate::planes::both::{Both, create, name_of};

/// More than a syncer has workers.
const CROWD: usize = 60;
/// So many of them the pods of one namespace may have.
const WORKERS_OF_ONE: usize = 8;
/// So often another client changes a host object, and how soon again.
const CHANGES: (u32, Duration) = (150, Duration::from_millis(100));
/// How long events may take on a busy machine.
const NOTICED: Duration = Duration::from_mins(1);

async fn namespace(world: &World, name: &str) -> Result<Both> {
    let both = Both::of(world, name).await?;
    create(&Api::<Namespace>::all(both.virtual_client()), json!({"metadata": {"name": name}})).await?;
    Ok(both)
}

/// A pod of another namespace runs, from its creation to its status.
async fn another_runs(world: &World, name: &str) -> Result<()> {
    let calm = namespace(world, name).await?;
    calm.create_pod("web", json!({})).await?;
    calm.runs("web").await.map(drop)
}

async fn has_event(both: &Both, reason: &str, words: &str) -> Result<()> {
    eventually(&format!("an event {reason} says {words:?}"), NOTICED, async || {
        let of_reason = ListParams::default().fields(&format!("reason={reason}"));
        let events = both.virtual_api::<Event>().list(&of_reason).await?.items;
        let says = |event: &Event| event.message.as_ref().is_some_and(|message| message.contains(words));
        ensure!(events.iter().any(says), "{events:?}");
        Ok(())
    })
    .await
}

#[test]
fn a_webhook_of_one_namespace_that_hangs_or_wants_rest_for_years_holds_up_no_other() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        world.tenant().start_syncer().await?;
        let inner = world.tenant().virtual_proxy()?;
        let hung = inner.rule(patches("pods/status").in_namespace("hung").hang_before_effect());
        let crowd = namespace(&world, "hung").await?;
        for number in 0..CROWD {
            crowd.create_pod(&format!("web-{number}"), json!({})).await?;
        }
        hung.at_least(WORKERS_OF_ONE).await?;
        another_runs(&world, "beside-hung").await.context("while statuses of one namespace hang")?;
        // Those that are given up give way to others.
        eventually("as many requests hang as may", NOTICED, async || {
            ensure!(hung.hanging() == WORKERS_OF_ONE, "{} requests hang", hung.hanging());
            Ok(())
        })
        .await?;
        inner.clear();

        let binding = posts("pods/binding").in_namespace("resting");
        let rests = inner.rule(binding.answer_with_retry_after(429, "TooManyRequests", u32::MAX));
        let resting = namespace(&world, "resting").await?;
        resting.create_pod("web", json!({})).await?;
        rests.at_least(1).await?;
        let asked = rests.times();
        another_runs(&world, "beside-resting").await.context("while one namespace wants rest")?;
        ensure!(
            rests.times() == asked,
            "the other pod has waited until the rest was over, or there was none"
        );
        Ok(())
    })
}

#[test]
fn what_another_client_changes_all_the_time_is_changed_back_now_and_then_and_published() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        world.tenant().start_syncer().await?;
        let (host, both) = (world.tenant().host_proxy()?, namespace(&world, "shop").await?);
        both.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "1"}})).await?;
        let volumes = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
        both.create_pod("web", json!({"volumes": volumes})).await?;
        both.runs("web").await?;
        let map = both.arrives::<ConfigMap>("settings").await?;

        let (started, before) = (Instant::now(), host.count(&patches("configmaps")));
        let (times, pause) = CHANGES;
        let rotator = PatchParams { field_manager: Some("rotator".to_owned()), ..PatchParams::default() };
        for number in 0..times {
            let change = Patch::Merge(json!({"data": {"a": number.to_string()}}));
            both.host_api::<ConfigMap>().patch(name_of(&map), &rotator, &change).await?;
            tokio::time::sleep(pause).await;
        }
        let (corrections, took) = (host.count(&patches("configmaps")) - before, started.elapsed());
        // Four at once, and then one in seven and a half seconds.
        let most = 5 + usize::try_from(took.as_secs() / 7)?;
        ensure!(
            (1..=most).contains(&corrections),
            "{corrections} patches in {took:?} instead of {most} at most"
        );
        has_event(&both, "HostObjectContested", "\"rotator\"").await?;
        eventually("the tenant's data is back", NOTICED, async || {
            let map = both.host::<ConfigMap>("settings").await?;
            ensure!(map["data"]["a"] == "1", "{map}");
            Ok(())
        })
        .await
    })
}

#[test]
fn a_crowd_of_refused_pods_costs_few_writes_and_no_other_pod() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        world.tenant().start_syncer().await?;
        let (host, crowd) = (world.tenant().host_proxy()?, namespace(&world, "refused").await?);
        // Only pods with a deadline count.
        let quota =
            json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}, "scopes": ["Terminating"]}});
        create(&crowd.host_api::<ResourceQuota>(), quota).await?;
        eventually("the quota is in force", NOTICED, async || {
            let quota = crowd.host_api::<ResourceQuota>().get("none").await?;
            ensure!(quota.status.is_some_and(|status| status.hard.is_some()), "not counted yet");
            Ok(())
        })
        .await?;
        let (started, before) = (Instant::now(), host.count(&posts("pods")));
        for number in 0..CROWD {
            crowd.create_pod(&format!("web-{number}"), json!({"activeDeadlineSeconds": 3600})).await?;
        }
        has_event(&crowd, "HostRefused", "exceeded quota").await?;
        another_runs(&world, "calm").await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (tries, took) = (host.count(&posts("pods")) - before, started.elapsed());
        // The first of each, twenty more at once, and then eight a second; and the pod that runs.
        let most = CROWD + 21 + 8 * usize::try_from(took.as_secs() + 1)?;
        ensure!(tries <= most, "{tries} tries in {took:?} instead of {most} at most");
        let events =
            crowd.virtual_api::<Event>().list(&ListParams::default().fields("reason=HostRefused")).await?;
        ensure!(events.items.len() <= CROWD, "{} events for {CROWD} pods", events.items.len());
        crowd.host_api::<ResourceQuota>().delete("none", &DeleteParams::default()).await?;
        eventually("the pods run once they are not refused", NOTICED * 2, async || {
            for number in [0, CROWD - 1] {
                crowd.host::<Pod>(&format!("web-{number}")).await?;
            }
            Ok(())
        })
        .await
    })
}
