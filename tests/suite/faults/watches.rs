//! Watches that break, forget their place, repeat themselves or are late: the host follows, and nothing is made twice.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::fault_proxy::{FaultProxy, Matcher, Rule, lists, posts, watches};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use crate::planes::both::{Both, at, name_of};

/// What is done to watches of pods and ConfigMaps on both sides.
struct Case {
    name: &'static str,
    fault: fn(Matcher) -> Rule,
    /// Whether the place in the watch is lost with it.
    lists_again: bool,
}

const CASES: &[Case] = &[
    // Every frame of an object is longer.
    Case { name: "cut-in-a-frame", fault: |watch| watch.first(3).cut_after_bytes(100), lists_again: false },
    Case { name: "doubled-frames", fault: |watch| watch.first(2).double_frames(), lists_again: false },
    Case { name: "refused", fault: |watch| watch.first(2).answer(500, "InternalError"), lists_again: false },
    Case { name: "expired-at-once", fault: |watch| watch.first(1).answer(410, "Expired"), lists_again: true },
    Case { name: "expired-later", fault: |watch| watch.first(1).expire_at_first_frame(), lists_again: true },
];

/// A pod and a ConfigMap come, change and go, while the watches have the fault.
async fn disturbed(both: &Both, proxies: [&FaultProxy; 2], case: &Case) -> Result<()> {
    let all_lists = || -> usize { proxies.iter().map(|proxy| proxy.count(&lists("pods"))).sum() };
    let (listed, name) = (all_lists(), case.name);
    let mut applied = Vec::new();
    for proxy in proxies {
        for kind in ["pods", "configmaps"] {
            applied.push(proxy.rule((case.fault)(watches(kind))));
        }
        // The watches that are open would go on for a while.
        proxy.cut_connections();
    }
    both.create::<ConfigMap>(json!({"metadata": {"name": name}, "data": {"a": "1"}})).await?;
    both.create_pod(name, json!({"volumes": [{"name": "v", "configMap": {"name": name}}]})).await?;
    both.runs(name).await?;
    both.edit::<ConfigMap>(name, json!({"data": {"a": "2"}})).await?;
    eventually("the host has the change", SOON, async || {
        let host = both.host::<ConfigMap>(name).await?;
        ensure!(at(&host, "/data/a") == "2", "{host}");
        Ok(())
    })
    .await?;
    both.delete::<Pod>(name).await?;
    both.gone::<Pod>(name).await?;
    both.leaves::<Pod>(name).await?;
    for rule in &applied {
        rule.at_least(1).await?;
    }
    if !case.lists_again {
        ensure!(all_lists() == listed, "pods were listed again");
    }
    for proxy in proxies {
        proxy.clear();
    }
    Ok(())
}

#[test]
fn watches_that_break_repeat_or_expire_lose_nothing_and_make_nothing_twice() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        tenant.start_syncer().await?;
        let proxies = [tenant.host_proxy()?, tenant.virtual_proxy()?];
        for (number, case) in CASES.iter().enumerate() {
            disturbed(&both, proxies, case).await.with_context(|| case.name)?;
            let created = tenant.host_proxy()?.count(&posts("pods"));
            ensure!(created == number + 1, "{}: {created} host pods were created", case.name);
        }
        Ok(())
    })
}

#[test]
fn a_config_map_that_the_syncer_sees_later_than_its_pod_arrives_and_holds_up_nobody() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        tenant.start_syncer().await?;
        let proxy = tenant.virtual_proxy()?;
        let held = proxy.rule(watches("configmaps").hold_frames());
        proxy.cut_connections();
        both.create::<ConfigMap>(json!({"metadata": {"name": "late"}, "data": {"a": "1"}})).await?;
        held.at_least(1).await?;
        both.create_pod("late", json!({"volumes": [{"name": "v", "configMap": {"name": "late"}}]})).await?;
        both.create_pod("other", json!({})).await?;
        both.runs("other").await.context("a pod that needs no ConfigMap")?;
        proxy.clear();
        both.runs("late").await?;
        let host = both.arrives::<ConfigMap>("late").await?;
        ensure!(at(&host, "/data/a") == "1", "{host}");
        let created = tenant.host_proxy()?.count(&posts("pods"));
        ensure!(created == 2, "{created} host pods were created");
        Ok(())
    })
}

#[test]
fn a_host_object_that_is_found_before_the_watch_shows_it_wakes_what_waits_for_it() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let proxy = tenant.host_proxy()?;
        let mut lost = Vec::new();
        // Every pod waits for the address of the DNS, and this one for its ConfigMap; there is another one of the namespace.
        for (kind, created) in [("services", 1), ("configmaps", 2)] {
            let _held = proxy.rule(watches(kind).hold_frames());
            lost.push(proxy.rule(posts(kind).first(created).cut_after_effect()));
        }
        tenant.start_syncer().await?;
        both.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"a": "1"}})).await?;
        both.create_pod("web", json!({"volumes": [{"name": "v", "configMap": {"name": "settings"}}]}))
            .await?;
        both.runs("web").await?;
        for lost in lost {
            lost.at_least(1).await?;
        }
        Ok(())
    })
}

#[test]
fn a_change_whose_event_comes_after_the_answer_to_a_later_write_of_ours_is_followed() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        tenant.start_syncer().await?;
        both.create_pod("web", json!({})).await?;
        both.runs("web").await?;
        let proxy = tenant.virtual_proxy()?;
        let held = proxy.rule(watches("pods").hold_frames());
        proxy.cut_connections();
        both.edit::<Pod>("web", json!({"metadata": {"labels": {"edited": "yes"}}})).await?;
        held.at_least(1).await?;
        add_host_condition(&both, "web", "example.com/seen").await?;
        eventually("the condition of the host pod comes back", SOON, async || {
            let pod = both.get::<Pod>("web").await?;
            ensure!(at(&pod, "/status/conditions").to_string().contains("example.com/seen"), "{pod}");
            Ok(())
        })
        .await?;
        proxy.clear();
        eventually("the host pod has the label", SOON, async || {
            let host = both.host::<Pod>("web").await?;
            ensure!(at(&host, "/metadata/labels/edited") == "yes", "{}", at(&host, "/metadata/labels"));
            Ok(())
        })
        .await
    })
}

/// Adds a condition to the status of the host pod of a virtual one, as a kubelet does.
async fn add_host_condition(both: &Both, pod: &str, condition: &str) -> Result<()> {
    let host = both.host::<Pod>(pod).await?;
    let mut conditions = at(&host, "/status/conditions").as_array().cloned().unwrap_or_default();
    conditions.push(json!({"type": condition, "status": "True"}));
    let status = Patch::Merge(json!({"status": {"conditions": conditions}}));
    both.host_api::<Pod>().patch_status(name_of(&host), &PatchParams::default(), &status).await?;
    Ok(())
}
