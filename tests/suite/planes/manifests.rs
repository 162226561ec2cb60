//! Applications that people run come up on both sides, stay as they are when they are applied again, and go.
//!
//! Each file of the folder is one, written after the manifests that it is known by: shapes matter here, not programs.

mod applied;
mod equal;
mod mounted;
mod ready;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use weft_tests::audit;
use weft_tests::eventually::{always, eventually};
use weft_tests::guests::rust;
use weft_tests::scratch::Scratch;
use weft_tests::shared::in_own_world;
use weft_tests::tenant::Tenant;
use weft_tests::world::{Options, World};

use self::applied::{Application, Cluster};
use self::equal::Sides;

/// A hundred objects and sixty pods on a busy machine.
const LATER: Duration = Duration::from_mins(1);
/// A syncer that wants to write something has begun by then.
const QUIET: Duration = Duration::from_secs(4);
/// What applications of the folder need beside the built-in kinds.
const PLUGINS: &[&str] = &["ingress", "network-policy", "pod-disruption-budget"];

#[test]
fn applications_come_up_stay_as_they_are_and_go() -> Result<()> {
    in_own_world(async {
        let scratch = Scratch::new()?;
        let log = scratch.path().join("audit.log");
        let world = start(&scratch.path().join("plugins"), &log).await?;
        let tenant = world.tenant();
        let client = tenant.virtual_plane().client().await?;
        let applications = applied::read()?;
        ensure!(applications.len() >= 17, "there were 17 applications, and {} are left", applications.len());

        let (sides, volumes) = (Sides::of(tenant, &applications).await?, volumes(tenant).await?);
        let before = sides.see().await?.names();
        let cluster = define(&client, &applications).await?;
        try_join_all(applications.iter().map(|application| create(&client, &cluster, application))).await?;
        try_join_all(applications.iter().map(|application| ready(&cluster, application))).await?;
        same_on_both_sides(&sides).await?;

        let settled = settled(&log, &tenant.host_user()).await?;
        try_join_all(applications.iter().map(|application| cluster.apply(application))).await?;
        tenant.stop_syncer().await?;
        tenant.start_syncer().await?;
        always("neither the same manifests nor a new syncer change the host", QUIET, async || {
            let writes = writes(&log, &tenant.host_user())?;
            ensure!(writes.len() == settled, "it was written to: {:#?}", writes.get(settled..));
            Ok(())
        })
        .await?;
        same_on_both_sides(&sides).await?;

        remove(&client, &cluster, &applications).await?;
        nothing_is_left(&sides, &before, tenant, &volumes).await
    })
}

/// A world whose host records what the syncer writes, and whose tenant has the plugins.
async fn start(folder: &Path, log: &Path) -> Result<World> {
    std::fs::create_dir_all(folder)?;
    for name in PLUGINS {
        std::fs::write(folder.join(format!("{name}.wasm")), rust::plugin(name).await?)?;
    }
    // Without settings it lets no host name and no class pass.
    std::fs::write(folder.join("ingress.settings.yaml"), "hosts: ['*.example.com']\nclasses: [nginx]\n")?;
    let mut options = Options { host_flags: audit::flags(log)?, ..Options::build().await? };
    if let Some(config) = options.config.as_object_mut() {
        config.insert("plugins".to_owned(), json!({"folder": folder, "grants": "requested"}));
    }
    // Knative's, which the host could take for a Service of its own.
    let names = json!(["kourier-internal.kourier-system.svc.cluster.local"]);
    if let Some(services) = options.config.pointer_mut("/services").and_then(Value::as_object_mut) {
        services.insert("externalNames".to_owned(), names);
    }
    let world = World::without_syncer(options).await?;
    world.tenant().start_syncer().await?;
    Ok(world)
}

/// Definitions come first, as with any installer: the kinds that they make are applied later.
async fn define(client: &Client, applications: &[Application]) -> Result<Cluster> {
    let cluster = Cluster::of(client.clone()).await?;
    try_join_all(applications.iter().map(|application| cluster.define(application))).await?;
    eventually("the definitions are served", LATER, async || {
        let cluster = Cluster::of(client.clone()).await?;
        applications.iter().try_for_each(|application| cluster.knows(application))?;
        Ok(cluster)
    })
    .await
}

async fn create(client: &Client, cluster: &Cluster, application: &Application) -> Result<()> {
    let enforce = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    let namespace = json!({"metadata": {"name": application.name, "labels": enforce}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    cluster.apply(application).await?;
    cluster.create_unnamed(application).await
}

async fn ready(cluster: &Cluster, application: &Application) -> Result<()> {
    eventually(&format!("{} is ready", application.name), LATER, async || {
        for object in cluster.objects(application).await? {
            ready::ensure(&object)?;
        }
        Ok(())
    })
    .await
}

async fn same_on_both_sides(sides: &Sides) -> Result<()> {
    eventually("both sides show the same, and what pods name is there", LATER, async || {
        let seen = sides.see().await?;
        seen.ensure_equal()?;
        mounted::ensure(&seen)
    })
    .await
}

/// What a user has written to the host so far, but for events: a new syncer says which plugins it has loaded.
fn writes(log: &Path, user: &str) -> Result<Vec<String>> {
    let is_write = |verb: &str| !matches!(verb, "get" | "list" | "watch");
    let requests = audit::read(log)?.into_iter();
    let by_user = requests.filter(|request| {
        request.user() == user && is_write(&request.verb) && request.object.resource != "events"
    });
    Ok(by_user.map(|request| format!("{} {}", request.verb, request.uri)).collect())
}

/// Waits until the syncer has nothing left to write; returns how much it has written.
async fn settled(log: &Path, user: &str) -> Result<usize> {
    eventually("the syncer has nothing left to write", LATER, async || {
        let before = writes(log, user)?.len();
        tokio::time::sleep(QUIET / 2).await;
        let now = writes(log, user)?.len();
        ensure!(before > 0 && now == before, "it has written {now} times, {before} times a moment ago");
        Ok(now)
    })
    .await
}

/// The volumes of the host.
async fn volumes(tenant: &Tenant) -> Result<Vec<String>> {
    let volumes: Api<PersistentVolume> = Api::all(tenant.host_plane().client().await?);
    Ok(volumes.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect())
}

async fn remove(client: &Client, cluster: &Cluster, applications: &[Application]) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for application in applications {
        namespaces.delete(&application.name, &DeleteParams::background()).await?;
    }
    eventually("the namespaces are gone", LATER, async || {
        let left = namespaces.list(&ListParams::default()).await?;
        let is_one = |name: &String| applications.iter().any(|application| application.name == *name);
        let left: Vec<_> = left.iter().map(ResourceExt::name_any).filter(is_one).collect();
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
    .await?;
    try_join_all(applications.iter().map(|application| cluster.delete_cluster_scoped(application))).await?;
    Ok(())
}

/// Claims may be in namespaces that are gone: their volumes go as well, on both sides.
async fn nothing_is_left(
    sides: &Sides,
    before: &BTreeSet<String>,
    tenant: &Tenant,
    volumes_before: &[String],
) -> Result<()> {
    let mirrored: Api<PersistentVolume> = Api::all(tenant.virtual_plane().client().await?);
    eventually("nothing of the applications is left on either side", LATER, async || {
        let now = sides.see().await?.names();
        ensure!(now == *before, "left: {:?}", now.difference(before));
        let host_volumes = volumes(tenant).await?;
        ensure!(host_volumes == volumes_before, "the host has the volumes {host_volumes:?}");
        let mirrored = mirrored.list(&ListParams::default()).await?.items;
        ensure!(mirrored.is_empty(), "the virtual cluster has the volumes {mirrored:?}");
        Ok(())
    })
    .await
}
