//! A syncer that was killed or away finds its way from what both clusters show.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota, Secret};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use weft_tests::binaries::{self, Programs};
use weft_tests::eventually::{always, eventually};
use weft_tests::pairs;
use weft_tests::planes::{Component, Options, Plane, Role, Store};
use weft_tests::scratch::Scratch;
use weft_tests::shared::in_own_world;
use weft_tests::tenant::{self, Tenant};

use super::place::{Place, ensure_at, identity_uid, patch, phase, pod};

/// Hundreds of pods on a busy machine.
const LATER: Duration = Duration::from_mins(2);
/// How many pods are settled when the syncer is started again.
const SETTLED: usize = 500;
/// A syncer that wants to write something has begun by then.
const QUIET: Duration = Duration::from_secs(5);
/// How many requests of ours are under way at once.
const CLIENTS: usize = 16;

/// A tenant whose syncer may be killed, on planes that record what the syncer writes.
struct Stage {
    tenant: Tenant,
    audits: [PathBuf; 2],
    _scratch: Scratch,
}

impl Stage {
    async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let dir = scratch.path();
        let (programs, weft) = (Programs::build().await?, binaries::weft().await?);
        let options = tenant::Options {
            cluster: "my-vcluster".to_owned(),
            namespace: "team-a".to_owned(),
            weft,
            programs: programs.clone(),
            dir: dir.join("tenant"),
            config: json!({}),
            has_proxies: false,
        };
        let audits = [dir.join("host.audit"), dir.join("virtual.audit")];
        let [host, virtual_plane] = [(Role::Host { nodes: 3 }, "host"), (Role::Virtual, "tenant/virtual")]
            .map(|(role, name)| (role, dir.join(name)));
        let [host_audit, virtual_audit] = &audits;
        let plane = |(role, dir): (Role, PathBuf), audit: &Path| -> Result<Options> {
            let (programs, store) = (programs.clone(), Store::default());
            Ok(Options { role, programs, store, dir, extra: audit_flags(audit)? })
        };
        let (host, virtual_plane) = tokio::try_join!(
            Plane::start(plane(host, host_audit)?),
            Plane::start(plane(virtual_plane, virtual_audit)?),
        )?;
        let tenant = Tenant::join(options, Arc::new(host), virtual_plane).await?;
        Ok(Self { tenant, audits, _scratch: scratch })
    }

    /// What the syncer has written so far, one line for each write.
    fn writes(&self) -> Result<Vec<String>> {
        let mut writes = Vec::new();
        for audit in &self.audits {
            let text = fs::read_to_string(audit).unwrap_or_default();
            // The last line may be half written.
            for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
                let [verb, uri] =
                    ["verb", "requestURI"].map(|field| event.get(field).unwrap_or(&Value::Null));
                writes.push(format!("{verb} {uri}"));
            }
        }
        ensure!(!writes.is_empty(), "the audit logs must show the syncer's first writes; check their policy");
        Ok(writes)
    }
}

/// Has an API server record what syncers write.
fn audit_flags(log: &Path) -> Result<Vec<(Component, String)>> {
    let policy = log.with_extension("policy");
    let rules = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "users": ["weft-syncer", "weft-syncer-my-vcluster"],
             "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
            {"level": "None"},
        ],
    });
    fs::write(&policy, rules.to_string())?;
    let flags = [("policy-file", policy.as_path()), ("log-path", log)];
    Ok(flags
        .map(|(flag, path)| (Component::ApiServer, format!("--audit-{flag}={}", path.display())))
        .to_vec())
}

/// Runs a test on the one stage of this file, alone there, in a namespace of its own.
fn on_stage(namespace: &str, test: impl AsyncFnOnce(&Stage, Place) -> Result<()>) -> Result<()> {
    static STAGE: OnceCell<Result<Mutex<Stage>>> = OnceCell::const_new();
    in_own_world(async {
        let stage = STAGE.get_or_init(async || Ok(Mutex::new(Stage::start().await?))).await;
        let stage = match stage {
            Ok(stage) => stage.lock().await,
            Err(error) => bail!("the stage failed to start: {error:#}"),
        };
        // A test that failed may have left it running.
        let _ = stage.tenant.kill_syncer();
        stage.tenant.start_syncer().await?;
        let place = Place::fresh(&stage.tenant, namespace).await?;
        test(&stage, place).await
    })
}

/// Creates `count` pods as fast as the server takes them.
async fn burst(place: &Place, count: usize) -> Result<()> {
    let pods = stream::iter((0..count).map(|number| pod(&format!("web-{number}"), json!({}))));
    pods.map(Ok).try_for_each_concurrent(CLIENTS, async |pod| place.create::<Pod>(pod).await.map(drop)).await
}

/// Waits until every virtual pod runs and has exactly one host pod, and the host has no others.
async fn settled(place: &Place, count: usize) -> Result<()> {
    eventually(&format!("{count} pods run, each as one host pod"), LATER, async || {
        let pods = place.on_virtual::<Pod>().list(&ListParams::default()).await?.items;
        let host_pods: Vec<Pod> = place.host_objects().await?;
        let running = pods.iter().filter(|pod| phase(pod) == "Running").count();
        let seen = (pods.len(), running, host_pods.len());
        ensure!(seen == (count, count, count), "virtual, running and host pods are {seen:?}");
        let mut wanted: Vec<_> = pods.iter().map(kube::ResourceExt::uid).collect();
        let mut found: Vec<_> = host_pods.iter().map(identity_uid).collect();
        wanted.sort();
        found.sort();
        ensure!(wanted == found, "host pods are of other virtual pods");
        Ok(())
    })
    .await
}

#[test]
fn a_burst_survives_a_kill_of_the_syncer() -> Result<()> {
    on_stage("burst", async |stage, place| {
        let killer = async {
            // Somewhere in the middle of the burst.
            eventually("some pods are on the host", LATER, async || {
                let host_pods: Vec<Pod> = place.host_objects().await?;
                ensure!(host_pods.len() > 10, "{}", host_pods.len());
                Ok(())
            })
            .await?;
            stage.tenant.kill_syncer()?;
            stage.tenant.start_syncer().await?;
            eventually("more pods are on the host", LATER, async || {
                let host_pods: Vec<Pod> = place.host_objects().await?;
                ensure!(host_pods.len() > 30, "{}", host_pods.len());
                Ok(())
            })
            .await?;
            stage.tenant.kill_syncer()
        };
        tokio::try_join!(killer, burst(&place, 60))?;
        stage.tenant.start_syncer().await?;
        settled(&place, 60).await?;
        delete_all(&place).await
    })
}

#[test]
fn a_syncer_that_starts_where_all_is_settled_writes_nothing() -> Result<()> {
    on_stage("settled", async |stage, place| {
        let data = json!({"metadata": {"name": "settings"}, "data": {"a": "1"}});
        place.create::<ConfigMap>(data).await?;
        burst(&place, SETTLED).await?;
        settled(&place, SETTLED).await?;
        let mut before = 0;
        always_again("the syncer has nothing left to write", async || {
            let now = stage.writes()?.len();
            let was = std::mem::replace(&mut before, now);
            ensure!(was == now, "it wrote {now} times, {was} times a moment ago");
            Ok(())
        })
        .await?;
        stage.tenant.stop_syncer().await?;
        stage.tenant.start_syncer().await?;
        always("the new syncer writes nothing", QUIET, async || {
            let writes = stage.writes()?;
            ensure!(
                writes.len() == before,
                "it wrote {:#?}",
                writes.iter().skip(before).take(20).collect::<Vec<_>>()
            );
            Ok(())
        })
        .await?;
        // It does work: what changes now is written.
        patch(&place.on_virtual::<Pod>(), "web-0", json!({"metadata": {"labels": {"new": "yes"}}})).await?;
        eventually("a change after the restart reaches the host", LATER, async || {
            ensure_at(&place.pair("web-0").await?.host_pod, "/metadata/labels/new", &json!("yes"))
        })
        .await?;
        delete_all(&place).await
    })
}

/// Waits until `probe` has held for some time.
async fn always_again(sentence: &str, mut probe: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    eventually(sentence, LATER, async || {
        probe().await?;
        tokio::time::sleep(QUIET / 2).await;
        probe().await
    })
    .await
}

#[test]
fn what_changed_while_the_syncer_was_away_is_caught_up_with() -> Result<()> {
    on_stage("away", async |stage, place| {
        let mut before = Vec::new();
        for name in ["kept", "deleted", "forced", "recreated", "relabelled", "lost"] {
            before.push(place.run(pod(name, json!({}))).await?);
        }
        let [kept, deleted, forced, recreated, relabelled, lost] =
            before.try_into().ok().context("six pods were made")?;
        stage.tenant.kill_syncer()?;

        let pods = place.on_virtual::<Pod>();
        place.delete::<Pod>("deleted").await?;
        for name in ["forced", "recreated"] {
            pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
        }
        place.create::<Pod>(pod("recreated", json!({}))).await?;
        place.create::<Pod>(pod("new", json!({}))).await?;
        patch(&pods, "relabelled", json!({"metadata": {"labels": {"tier": "back"}}})).await?;
        let now = DeleteParams::default().grace_period(0);
        place.on_host::<Pod>().delete(&lost.host_pod.name_any(), &now).await?;

        stage.tenant.start_syncer().await?;
        for pair in [&deleted, &forced, &lost] {
            place.gone(pair).await?;
        }
        ensure!(pods.get_opt("lost").await?.is_none(), "a pod that ran must not be run again");
        let again = place.running("recreated").await?;
        ensure!(again.virtual_pod.uid() != recreated.virtual_pod.uid(), "it is the old virtual pod");
        ensure!(again.host_pod.uid() != recreated.host_pod.uid(), "it is the old host pod");
        place.running("new").await?;
        let same = place.running("kept").await?;
        ensure!(same.host_pod.uid() == kept.host_pod.uid(), "the pod that nobody touched was replaced");
        eventually("the label has reached the host pod", LATER, async || {
            let pair = place.pair("relabelled").await?;
            ensure!(pair.host_pod.uid() == relabelled.host_pod.uid(), "it was replaced");
            ensure_at(&pair.host_pod, "/metadata/labels/tier", &json!("back"))
        })
        .await
    })
}

#[test]
fn a_pod_that_ended_while_the_syncer_was_away_has_ended() -> Result<()> {
    on_stage("ended", async |stage, place| {
        let pair = place.run(pod("web", json!({"restartPolicy": "Never"}))).await?;
        stage.tenant.kill_syncer()?;
        let exit = json!({"metadata": {"annotations": {"kubelet.test/exit": "3"}}});
        patch(&place.on_host::<Pod>(), &pair.host_pod.name_any(), exit).await?;
        eventually("the host pod has failed", LATER, async || {
            let (_, host) = pairs::host_pod_of(&place.on_host(), &pair.virtual_pod).await?;
            ensure!(phase(&host) == "Failed", "{:?}", host.status);
            Ok(())
        })
        .await?;
        stage.tenant.start_syncer().await?;
        eventually("the virtual pod has failed", LATER, async || {
            let pod = place.on_virtual::<Pod>().get("web").await?;
            ensure_at(&pod, "/status/containerStatuses/0/state/terminated/exitCode", &json!(3))
        })
        .await
    })
}

#[test]
fn tokens_of_a_pod_that_never_came_to_the_host_go_with_it_whenever_the_syncer_is_away() -> Result<()> {
    on_stage("tokens", async |stage, place| {
        let quotas = place.on_host::<ResourceQuota>();
        let none = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/pods": "0"}}});
        quotas.create(&PostParams::default(), &serde_json::from_value(none)?).await?;
        eventually("the quota is counted", LATER, async || {
            let quota = quotas.get("none").await?;
            ensure!(quota.status.is_some_and(|status| status.hard.is_some()), "not yet");
            Ok(())
        })
        .await?;
        for name in ["one", "two"] {
            place.create::<Pod>(pod(name, json!({}))).await?;
            place.event(name, "HostRefused").await?;
        }
        ensure!(place.host_objects::<Pod>().await?.is_empty(), "the quota allows no pod");
        let owner = place.on_host::<ConfigMap>().get(&place.cluster).await?;
        let tokens: Vec<Secret> = place.host_objects().await?;
        ensure!(tokens.len() == 2, "the tokens are there before the host pods: {tokens:?}");
        for secret in &tokens {
            ensure_at(secret, "/metadata/ownerReferences/0/uid", &json!(owner.uid()))?;
        }
        place.delete::<Pod>("one").await?;
        tokens_left(&place, 1).await?;
        stage.tenant.kill_syncer()?;
        place.delete::<Pod>("two").await?;
        stage.tenant.start_syncer().await?;
        tokens_left(&place, 0).await?;
        quotas.delete("none", &DeleteParams::default()).await?;

        // Killed between the Secret and the hand-over: what is half done is finished.
        place.create::<Pod>(pod("three", json!({}))).await?;
        let pair = place.running("three").await?;
        let secret = place.host_objects::<Secret>().await?.pop().context("the pod has tokens")?;
        stage.tenant.kill_syncer()?;
        let early = json!({"metadata": {"ownerReferences": [owner_reference(&owner)]}});
        patch(&place.on_host::<Secret>(), &secret.name_any(), early).await?;
        stage.tenant.start_syncer().await?;
        eventually("the host pod owns its tokens", LATER, async || {
            let now = place.on_host::<Secret>().get(&secret.name_any()).await?;
            ensure!(now.data == secret.data, "there was no need of other tokens");
            ensure_at(&now, "/metadata/ownerReferences/0/uid", &json!(pair.host_pod.uid()))
        })
        .await?;
        place.delete::<Pod>("three").await?;
        place.gone(&pair).await?;
        tokens_left(&place, 0).await
    })
}

async fn tokens_left(place: &Place, count: usize) -> Result<()> {
    eventually(&format!("the host has {count} Secrets of the namespace"), LATER, async || {
        let left = place.host_objects::<Secret>().await?;
        ensure!(left.len() == count, "{left:?}");
        Ok(())
    })
    .await
}

/// As host objects have it that go with the virtual cluster.
fn owner_reference(owner: &ConfigMap) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name_any(), "uid": owner.uid()})
}

/// Makes room for the next test of the stage.
async fn delete_all(place: &Place) -> Result<()> {
    let all = DeleteParams::default().grace_period(0);
    place.on_virtual::<Pod>().delete_collection(&all, &ListParams::default()).await?;
    eventually("the host has no pods of the namespace", LATER, async || {
        let left = place.host_objects::<Pod>().await?.len();
        ensure!(left == 0, "{left} host pods are left");
        Ok(())
    })
    .await
}
