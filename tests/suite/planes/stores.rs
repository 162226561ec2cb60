//! An API server works the same on every store that a virtual cluster can have, and keeps its objects there.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use weft_tests::binaries::Programs;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::planes::{Component, Options, Plane, Role, Store};
use weft_tests::scratch::Scratch;
use weft_tests::shared::in_own_world;

/// In the order of their creation, which no list may have.
const NAMES: [&str; 4] = ["b", "a.b", "c", "a"];
const SORTED: [&str; 4] = ["a", "a.b", "b", "c"];

#[test]
fn a_plane_works_on_kine_with_sqlite() -> Result<()> {
    in_own_world(works_on(Store::Kine))
}

#[test]
fn a_plane_works_on_etcd_that_syncs_to_disk() -> Result<()> {
    in_own_world(works_on(Store::DurableEtcd))
}

async fn works_on(store: Store) -> Result<()> {
    let scratch = Scratch::new()?;
    let options = Options {
        role: Role::Virtual,
        programs: Programs::build().await?,
        store,
        dir: scratch.path().join("plane"),
        extra: Vec::new(),
    };
    let plane = Plane::start(options).await?;
    let store = *plane.pids().get(&Component::Store).context("the store does not run")?;
    ensure!(listening(store)? == Vec::<String>::new(), "it listens on {:?}", listening(store)?);
    let server = *plane.pids().get(&Component::ApiServer).context("the API server does not run")?;
    ensure!(listening(server)?.len() == 1, "the API server is seen to listen on {:?}", listening(server)?);
    let objects: Api<ConfigMap> = Api::namespaced(plane.client().await?, "default");
    let revision = objects.list(&ListParams::default()).await?.metadata.resource_version;
    for name in NAMES {
        objects.create(&PostParams::default(), &object(name)?).await?;
    }
    ensure!(listed(&objects).await? == SORTED, "{:?}", listed(&objects).await?);
    objects.delete("c", &DeleteParams::default()).await?;
    sees_every_change(&objects, &revision.unwrap_or_default()).await?;
    restart(&plane).await?;
    eventually("the objects are there again", SOON, async || {
        let names = listed(&objects).await?;
        ensure!(names == ["a", "a.b", "b"], "it has {names:?}");
        Ok(())
    })
    .await?;
    objects.create(&PostParams::default(), &object("after")?).await?;
    Ok(())
}

/// The TCP ports that a process listens on, as the kernel writes them: a store asks nobody who they are.
fn listening(pid: i32) -> Result<Vec<String>> {
    /// How the kernel writes that a socket listens.
    const LISTENS: &str = "0A";
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A file may be closed meanwhile.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy();
        let socket = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        sockets.extend(socket.map(str::to_owned));
    }
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        for line in fs::read_to_string(format!("/proc/{pid}/net/{table}"))?.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(3) == Some(&LISTENS) && fields.get(9).is_some_and(|inode| sockets.contains(*inode))
            {
                ports.extend(fields.get(1).map(|&address| address.to_owned()));
            }
        }
    }
    Ok(ports)
}

/// A watch from a revision of the past brings what happened since, in its order.
async fn sees_every_change(objects: &Api<ConfigMap>, revision: &str) -> Result<()> {
    let changes = objects.watch(&WatchParams::default().labels("stored=yes"), revision).await?;
    let seen = async {
        let mut changes = std::pin::pin!(changes);
        let mut seen = Vec::new();
        while let Some(change) = changes.try_next().await? {
            match change {
                WatchEvent::Added(object) => seen.push(format!("+{}", object.name_any())),
                WatchEvent::Deleted(object) => seen.push(format!("-{}", object.name_any())),
                WatchEvent::Modified(_) | WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(error) => anyhow::bail!("{error}"),
            }
            if seen.len() > NAMES.len() {
                break;
            }
        }
        Ok(seen)
    };
    let seen = tokio::time::timeout(SOON, seen).await??;
    ensure!(seen == ["+b", "+a.b", "+c", "+a", "-c"], "the watch brought {seen:?}");
    Ok(())
}

/// As after a crash of both: what was acknowledged must have been written.
async fn restart(plane: &Plane) -> Result<()> {
    plane.kill_component(Component::ApiServer)?;
    plane.kill_component(Component::Store)?;
    plane.start_component(Component::Store).await?;
    plane.start_component(Component::ApiServer).await
}

async fn listed(objects: &Api<ConfigMap>) -> Result<Vec<String>> {
    let list = objects.list(&ListParams::default().labels("stored=yes")).await?;
    Ok(list.items.iter().map(ConfigMap::name_any).collect())
}

fn object(name: &str) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name, "labels": {"stored": "yes"}}}))?)
}
