//! Servers that stop, freeze, forget or refuse: nothing is lost, and all heals without a restart.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::rbac::v1::Role;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::planes::Component;
use weft_tests::shared::in_own_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::{Options, World};

use super::both::{Both, at, edit, name_of, text};

/// Longer than any server that restarts; pauses after failures have grown by then.
const OUTAGE: Duration = Duration::from_secs(10);
/// Longer than the syncer takes to notice that a watch of pods is silent.
const FREEZE: Duration = Duration::from_secs(20);
/// How long it may take to heal: the longest pause after failures, and room.
const HEALED: Duration = Duration::from_mins(1);

/// Pods that end when the annotation says so.
async fn jobs(both: &Both, names: &[&str]) -> Result<()> {
    for name in names {
        both.create_pod(name, json!({"restartPolicy": "Never"})).await?;
    }
    for name in names {
        both.runs(name).await?;
    }
    Ok(())
}

/// Lets the host pod of a virtual one end well, without the virtual cluster's knowing.
async fn finish(both: &Both, host_pod: &str) -> Result<()> {
    let exit = json!({"metadata": {"annotations": {"kubelet.test/exit": "0"}}});
    edit(&both.host_api::<Pod>(), host_pod, exit).await?;
    eventually(&format!("the host pod {host_pod} has ended"), SOON, async || {
        let pod = serde_json::to_value(both.host_api::<Pod>().get(host_pod).await?)?;
        ensure!(text(&pod, "/status/phase") == "Succeeded", "{}", at(&pod, "/status"));
        Ok(())
    })
    .await
}

async fn phase_becomes(both: &Both, name: &str, phase: &str) -> Result<()> {
    eventually(&format!("the virtual pod {name} is {phase}"), HEALED, async || {
        let pod = both.get::<Pod>(name).await?;
        ensure!(text(&pod, "/status/phase") == phase, "{}", at(&pod, "/status"));
        Ok(())
    })
    .await
}

async fn follows(both: &Both, name: &str, data: &Value) -> Result<()> {
    eventually(&format!("the host's ConfigMap {name} has {data}"), HEALED, async || {
        let host = both.host::<ConfigMap>(name).await?;
        ensure!(at(&host, "/data") == data, "{host}");
        Ok(())
    })
    .await
}

/// Waits until a pod is on neither side. Its kubelet, too, has to find the server again.
async fn ends(both: &Both, name: &str) -> Result<()> {
    eventually(&format!("the pod {name} is on neither side"), HEALED, async || {
        let inner = both.virtual_api::<Pod>().get_opt(name).await?;
        ensure!(inner.is_none(), "{inner:?}");
        let host = both.find_host::<Pod>(name).await?;
        ensure!(host.is_none(), "{host:?}");
        Ok(())
    })
    .await
}

async fn host_pods(both: &Both) -> Result<BTreeSet<String>> {
    let pods = both.host_api::<Pod>().list(&ListParams::default()).await?;
    Ok(pods.items.iter().filter_map(ResourceExt::uid).collect())
}

fn user_of(config_map: &str) -> Value {
    json!({"volumes": [{"name": "v", "configMap": {"name": config_map}}]})
}

/// Creates a ConfigMap and a pod that uses it, and waits until both are on the host: a test may count pods there then.
async fn create_used(both: &Both, name: &str) -> Result<()> {
    let data = json!({"a": "1"});
    both.create::<ConfigMap>(json!({"metadata": {"name": name}, "data": data})).await?;
    both.create_pod(name, user_of(name)).await?;
    follows(both, name, &data).await?;
    both.runs(name).await?;
    Ok(())
}

fn logged(tenant: &Tenant, words: &str) -> Result<()> {
    let log = fs::read_to_string(tenant.syncer_log())?;
    ensure!(log.contains(words), "the log {} does not say {words:?}", tenant.syncer_log().display());
    Ok(())
}

#[test]
fn what_happens_while_a_server_is_away_is_caught_up_with() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let (inner, host) = (tenant.virtual_plane(), tenant.host_plane());
        jobs(&both, &["first", "second", "gone"]).await?;
        create_used(&both, "settings").await?;
        let before = host_pods(&both).await?;
        let (first, second) = (both.host::<Pod>("first").await?, both.host::<Pod>("second").await?);

        inner.stop_component(Component::ApiServer).await?;
        finish(&both, name_of(&first)).await?;
        tokio::time::sleep(OUTAGE).await;
        ensure!(
            host_pods(&both).await? == before,
            "host pods came or went while the virtual cluster was away"
        );
        inner.start_component(Component::ApiServer).await?;
        phase_becomes(&both, "first", "Succeeded").await?;
        ensure!(
            host_pods(&both).await? == before,
            "host pods came or went after the virtual cluster was away"
        );

        host.stop_component(Component::ApiServer).await?;
        both.edit::<ConfigMap>("settings", json!({"data": {"a": "2"}})).await?;
        both.delete::<Pod>("gone").await?;
        both.create_pod("new", json!({})).await?;
        tokio::time::sleep(OUTAGE).await;
        ensure!(
            text(&both.get::<Pod>("second").await?, "/status/phase") == "Running",
            "it is taken for lost"
        );
        host.start_component(Component::ApiServer).await?;
        follows(&both, "settings", &json!({"a": "2"})).await?;
        ends(&both, "gone").await?;
        phase_becomes(&both, "new", "Running").await?;

        both.edit::<ConfigMap>("settings", json!({"data": {"a": "3"}})).await?;
        finish(&both, name_of(&second)).await?;
        tokio::try_join!(
            inner.stop_component(Component::ApiServer),
            host.stop_component(Component::ApiServer)
        )?;
        tokio::time::sleep(OUTAGE / 2).await;
        tokio::try_join!(
            inner.start_component(Component::ApiServer),
            host.start_component(Component::ApiServer)
        )?;
        follows(&both, "settings", &json!({"a": "3"})).await?;
        phase_becomes(&both, "second", "Succeeded").await?;
        tenant.syncer_ready().await
    })
}

#[test]
fn servers_that_freeze_and_go_on_find_the_syncer_where_it_was() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let (inner, host) = (tenant.virtual_plane(), tenant.host_plane());
        jobs(&both, &["first", "second"]).await?;
        create_used(&both, "settings").await?;
        let (before, first) = (host_pods(&both).await?, both.host::<Pod>("first").await?);

        inner.pause(Component::ApiServer)?;
        finish(&both, name_of(&first)).await?;
        tokio::time::sleep(FREEZE).await;
        inner.resume(Component::ApiServer)?;
        phase_becomes(&both, "first", "Succeeded").await?;
        ensure!(host_pods(&both).await? == before, "host pods came or went");

        host.pause(Component::ApiServer)?;
        both.edit::<ConfigMap>("settings", json!({"data": {"a": "2"}})).await?;
        both.create_pod("new", json!({})).await?;
        tokio::time::sleep(FREEZE).await;
        host.resume(Component::ApiServer)?;
        follows(&both, "settings", &json!({"a": "2"})).await?;
        phase_becomes(&both, "new", "Running").await?;
        ensure!(
            text(&both.get::<Pod>("second").await?, "/status/phase") == "Running",
            "it is taken for lost"
        );
        Ok(())
    })
}

#[test]
fn servers_that_have_forgotten_the_place_in_a_watch_are_listed_again() -> Result<()> {
    in_own_world(async {
        let mut options = Options::build().await?;
        options.config = json!({"log": {"level": "debug"}});
        let world = World::without_syncer(options).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        tenant.start_syncer().await?;
        jobs(&both, &["first", "gone"]).await?;
        create_used(&both, "settings").await?;
        let first = both.host::<Pod>("first").await?;

        // A server begins to remember when it starts: what changed before, under a sleeping syncer's
        // nose, it cannot tell.
        tenant.syncer()?.signal(nix::sys::signal::Signal::SIGSTOP)?;
        finish(&both, name_of(&first)).await?;
        both.edit::<ConfigMap>("settings", json!({"data": {"a": "2"}})).await?;
        both.virtual_api::<Pod>().delete("gone", &DeleteParams::default().grace_period(0)).await?;
        both.gone::<Pod>("gone").await?;
        for plane in [tenant.virtual_plane(), tenant.host_plane()] {
            plane.stop_component(Component::ApiServer).await?;
            plane.start_component(Component::ApiServer).await?;
        }
        both.create_pod("new", json!({})).await?;
        tenant.syncer()?.signal(nix::sys::signal::Signal::SIGCONT)?;

        phase_becomes(&both, "first", "Succeeded").await?;
        follows(&both, "settings", &json!({"a": "2"})).await?;
        phase_becomes(&both, "new", "Running").await?;
        ends(&both, "gone").await?;
        logged(tenant, "the server has forgotten our place in the watch")
    })
}

#[test]
fn a_permission_that_is_removed_stops_one_kind_until_it_is_granted_again() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        create_used(&both, "settings").await?;
        let roles = both.host_api::<Role>();
        let role = serde_json::to_value(roles.get(&tenant.host_user()).await?)?;
        let mut less = role["rules"].clone();
        for rule in less.as_array_mut().context("the role has no rules")? {
            let resources = rule["resources"].as_array_mut().context("a rule has no resources")?;
            resources.retain(|resource| resource != "configmaps");
        }
        edit(&roles, &tenant.host_user(), json!({"rules": less})).await?;

        both.edit::<ConfigMap>("settings", json!({"data": {"a": "2"}})).await?;
        both.create::<ConfigMap>(json!({"metadata": {"name": "new"}, "data": {"a": "1"}})).await?;
        eventually("the log says what is missing", HEALED, async || {
            logged(tenant, "configmaps is forbidden")
        })
        .await?;
        both.create_pod("other", json!({})).await?;
        both.runs("other").await?;
        both.create::<Service>(json!({"metadata": {"name": "other"}, "spec": {"ports": [{"port": 80}]}}))
            .await?;
        both.arrives::<Service>("other").await?;
        tenant.probe("/livez").await?;
        let host = both.host::<ConfigMap>("settings").await?;
        ensure!(host["data"]["a"] == "1", "it has changed without permission: {host}");

        edit(&roles, &tenant.host_user(), json!({"rules": role["rules"]})).await?;
        follows(&both, "settings", &json!({"a": "2"})).await?;
        both.create_pod("new", user_of("new")).await?;
        follows(&both, "new", &json!({"a": "1"})).await?;
        tenant.syncer_ready().await
    })
}
