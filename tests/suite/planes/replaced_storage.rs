//! A virtual API server that comes back with another storage, or with an older state of its own: what the host has is
//! not taken for garbage, and all heals as the log says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use weft_tests::eventually::{always, eventually};
use weft_tests::fault_proxy::any;
use weft_tests::planes::{Component, Plane};
use weft_tests::shared::in_own_world;
use weft_tests::world::{Options, World};

use super::both::{Both, at, edit, uid};

/// Longer than the syncer takes to see that a server is another one, and to act on what that server shows.
const LONG_ENOUGH: Duration = Duration::from_secs(10);
/// How long it may take to heal: the longest pause after failures, and room.
const HEALED: Duration = Duration::from_mins(1);
/// More than is written while a pod and a ConfigMap are created and change.
const WRITTEN_SINCE: usize = 200;
/// Pods of the virtual cluster that comes back empty: more than leave a store at once without a second reading.
const CROWD: usize = 60;
/// On the host Service of the virtual API server: whose objects are on the host.
const IDENTITY: &str = "weft.dev/virtual-cluster-uid";

/// Stops the server and its store, puts another folder in the place of the store's data, and starts both again. The
/// data of before stays in a folder that is returned.
async fn exchange_data(plane: &Plane, data: Option<&Path>) -> Result<PathBuf> {
    plane.stop_component(Component::ApiServer).await?;
    plane.stop_component(Component::Store).await?;
    let aside = plane.dir().join(format!("aside-{}", fs::read_dir(plane.dir())?.count()));
    fs::rename(plane.data(), &aside)?;
    if let Some(data) = data {
        copy(data, &plane.data())?;
    }
    plane.start_component(Component::Store).await?;
    plane.start_component(Component::ApiServer).await?;
    Ok(aside)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(status.success(), "failed to copy {} to {}", from.display(), to.display());
    Ok(())
}

/// A ConfigMap, and a pod that uses it.
async fn create_used(both: &Both, name: &str, value: &str) -> Result<()> {
    both.create::<ConfigMap>(json!({"metadata": {"name": name}, "data": {"a": value}})).await?;
    both.create_pod(name, json!({"volumes": [{"name": "v", "configMap": {"name": name}}]})).await?;
    Ok(())
}

/// The UIDs of all host pods, once so many have come that no walk over them is short.
async fn crowd(both: &Both) -> Result<BTreeSet<String>> {
    for number in 0..CROWD {
        both.create_pod(&format!("crowd-{number}"), json!({})).await?;
    }
    eventually("the host has the crowd", HEALED, async || {
        let pods = host_pods(both).await?;
        ensure!(pods.len() > CROWD, "{} pods", pods.len());
        Ok(pods)
    })
    .await
}

/// Those that are not being deleted.
async fn host_pods(both: &Both) -> Result<BTreeSet<String>> {
    let pods = both.host_api::<Pod>().list(&ListParams::default()).await?.items;
    let live = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(live.filter_map(|pod| pod.metadata.uid).collect())
}

async fn host_has(both: &Both, name: &str, value: &str) -> Result<()> {
    let host = both.host::<ConfigMap>(name).await?;
    ensure!(at(&host, "/data/a") == value, "{host}");
    Ok(())
}

#[test]
fn an_emptied_storage_deletes_nothing_on_the_host_and_heals_both_ways() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let inner = tenant.virtual_plane();
        create_used(&both, "web", "old").await?;
        both.runs("web").await?;
        let pods = crowd(&both).await?;
        let (pod, map) = (both.host::<Pod>("web").await?, both.host::<ConfigMap>("web").await?);
        let is_untouched = async || {
            for (name, before, now) in [
                ("pod", &pod, both.host::<Pod>("web").await?),
                ("ConfigMap", &map, both.host::<ConfigMap>("web").await?),
            ] {
                let is_kept = uid(&now) == uid(before) && at(&now, "/metadata/deletionTimestamp").is_null();
                ensure!(is_kept, "the host {name} is another one, or is being deleted: {now}");
            }
            ensure!(host_pods(&both).await?.is_superset(&pods), "pods of the crowd are gone, or are others");
            host_has(&both, "web", "old").await
        };

        let old = exchange_data(inner, None).await?;
        tenant.prepare_virtual().await?;
        eventually("the same names are made again", HEALED, async || create_used(&both, "web", "new").await)
            .await?;
        always("the host keeps what it has", LONG_ENOUGH, is_untouched).await?;
        let ready = tenant.probe("/readyz").await;
        ensure!(ready.is_err(), "it is ready with another virtual cluster: {ready:?}");

        let other = exchange_data(inner, Some(&old)).await?;
        tenant.syncer_ready().await?;
        is_untouched().await?;
        both.edit::<ConfigMap>("web", json!({"data": {"a": "edited"}})).await?;
        eventually("the host has the change", HEALED, async || host_has(&both, "web", "edited").await)
            .await?;

        exchange_data(inner, Some(&other)).await?;
        eventually("it is not ready", HEALED, async || {
            ensure!(tenant.probe("/readyz").await.is_err());
            Ok(())
        })
        .await?;
        // As the log says for a storage that was replaced on purpose.
        let forget = json!({"metadata": {"annotations": {IDENTITY: null}}});
        edit(&both.host_api::<Service>(), tenant.cluster(), forget).await?;
        eventually("the host has what the new storage has", HEALED, async || {
            host_has(&both, "web", "new").await?;
            let host = both.host::<Pod>("web").await?;
            ensure!(uid(&host) != uid(&pod), "it is the pod of the old storage");
            Ok(())
        })
        .await?;
        tenant.syncer_ready().await
    })
}

/// What a snapshot of before does not have, and the host has.
async fn write_what_is_lost(both: &Both) -> Result<()> {
    both.edit::<ConfigMap>("kept", json!({"data": {"a": "lost"}})).await?;
    eventually("the host has the change", HEALED, async || host_has(both, "kept", "lost").await).await?;
    create_used(both, "later", "lost").await?;
    both.runs("later").await.map(drop)
}

/// The host has what the storage had before, and nothing of the lost time.
async fn is_where_the_storage_is(both: &Both) -> Result<()> {
    eventually("the host is where the storage is", HEALED, async || {
        host_has(both, "kept", "before").await?;
        let later = both.find_host::<Pod>("later").await?;
        ensure!(later.is_none(), "a pod of the lost time is there");
        Ok(())
    })
    .await
}

#[test]
fn a_storage_that_went_back_is_followed_back() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let inner = tenant.virtual_plane();
        create_used(&both, "kept", "before").await?;
        both.runs("kept").await?;
        eventually("the host has it", HEALED, async || host_has(&both, "kept", "before").await).await?;
        let pod = both.host::<Pod>("kept").await?;
        let snapshot = exchange_data(inner, None).await?;
        exchange_data(inner, Some(&snapshot)).await?;
        tenant.syncer_ready().await?;

        write_what_is_lost(&both).await?;
        exchange_data(inner, Some(&snapshot)).await?;

        is_where_the_storage_is(&both).await?;
        let kept = both.host::<Pod>("kept").await?;
        ensure!(uid(&kept) == uid(&pod), "a pod that is in the snapshot was replaced");
        both.virtual_api::<Pod>()
            .delete("kept", &DeleteParams::default())
            .await
            .context("it is followed still")?;
        both.leaves::<Pod>("kept").await
    })
}

/// Its version is no longer older than what the syncer has seen.
#[test]
fn a_storage_that_went_back_and_has_written_more_since_is_followed_back() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(Options::build().await?.through_proxies()).await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let (inner, way) = (tenant.virtual_plane(), tenant.virtual_proxy()?);
        tenant.start_syncer().await?;
        create_used(&both, "kept", "before").await?;
        both.runs("kept").await?;
        let snapshot = exchange_data(inner, None).await?;
        exchange_data(inner, Some(&snapshot)).await?;
        tenant.syncer_ready().await?;
        write_what_is_lost(&both).await?;

        let logged = fs::read_to_string(tenant.syncer_log())?.len();
        way.rule(any("*").cut_before_effect());
        way.cut_connections();
        exchange_data(inner, Some(&snapshot)).await?;
        for number in 0..WRITTEN_SINCE {
            both.create::<ConfigMap>(json!({"metadata": {"name": format!("since-{number}")}})).await?;
        }
        way.clear();
        is_where_the_storage_is(&both).await?;
        let log = fs::read_to_string(tenant.syncer_log())?;
        let log = log.get(logged..).unwrap_or_default();
        ensure!(!log.contains("went back to an older state"), "its version has shown it");
        Ok(())
    })
}

/// Those that follow the host's API server: none of them is made for versions that go back.
const FOLLOWERS: [Component; 3] = [Component::ControllerManager, Component::Scheduler, Component::Kwok];

#[test]
fn a_host_whose_storage_went_back_gets_what_the_tenant_has_now() -> Result<()> {
    in_own_world(async {
        let world = World::start().await?;
        let (tenant, both) = (world.tenant(), Both::of(&world, "default").await?);
        let host = tenant.host_plane();
        for name in ["kept", "gone"] {
            create_used(&both, name, "before").await?;
            both.runs(name).await?;
        }
        let (kept, virtual_kept) = (both.host::<Pod>("kept").await?, both.get::<Pod>("kept").await?);
        let snapshot = exchange_data(host, None).await?;
        exchange_data(host, Some(&snapshot)).await?;
        tenant.syncer_ready().await?;

        write_what_is_lost(&both).await?;
        let service = json!({"metadata": {"name": "later"}, "spec": {"ports": [{"port": 80}]}});
        both.create::<Service>(service).await?;
        both.arrives::<Service>("later").await?;
        both.delete::<Pod>("gone").await?;
        both.gone::<Pod>("gone").await?;
        both.leaves::<Pod>("gone").await?;
        for follower in FOLLOWERS {
            host.stop_component(follower).await?;
        }
        exchange_data(host, Some(&snapshot)).await?;
        for follower in FOLLOWERS {
            host.start_component(follower).await?;
        }

        eventually("the host has what the tenant has", HEALED, async || {
            host_has(&both, "kept", "lost").await?;
            both.host::<Service>("later").await?;
            // Its kubelet may not have seen it again.
            let gone = both.find_host::<Pod>("gone").await?;
            let ends = gone.is_none_or(|pod| !at(&pod, "/metadata/deletionTimestamp").is_null());
            ensure!(ends, "a pod that the tenant has deleted is back");
            let later = both.virtual_api::<Pod>().get_opt("later").await?;
            ensure!(later.is_none(), "a pod that ran and is lost is taken for one that runs");
            Ok(())
        })
        .await?;
        let (same, virtual_same) = (both.host::<Pod>("kept").await?, both.get::<Pod>("kept").await?);
        ensure!(uid(&same) == uid(&kept), "a pod that ran all the time was replaced");
        ensure!(uid(&virtual_same) == uid(&virtual_kept), "its virtual pod was replaced");
        tenant.syncer_ready().await
    })
}
