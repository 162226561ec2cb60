//! The test planes themselves behave: pods run, storage is provisioned, and nothing stays behind.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weft_tests::binaries::{self, Programs};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::planes::{Component, Options, Plane, Role, Store};
use weft_tests::process;
use weft_tests::scratch::Scratch;
use weft_tests::shared::{in_own_world, in_runtime};
use weft_tests::world::{self, World};

pub(super) async fn host() -> Result<(Plane, Scratch)> {
    let scratch = Scratch::new()?;
    let options = Options {
        role: Role::Host { nodes: 3 },
        programs: Programs::build().await?,
        store: Store::default(),
        dir: scratch.path().join("host"),
        extra: Vec::new(),
    };
    Ok((Plane::start(options).await?, scratch))
}

fn pod(name: &str, annotations: &Value, spec: Value) -> Result<Pod> {
    let containers = json!({"containers": [{"name": "main", "image": "nginx"}]});
    let spec = merged(containers, spec);
    Ok(serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec}))?)
}

fn merged(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

fn condition(pod: &Pod, kind: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.clone())
}

async fn phase_of(pods: &Api<Pod>, name: &str, phase: &str) -> Result<Pod> {
    eventually(&format!("pod {name} is {phase}"), SOON, async || {
        let pod = pods.get(name).await?;
        let seen = pod.status.as_ref().and_then(|status| status.phase.clone());
        ensure!(seen.as_deref() == Some(phase), "it is {seen:?}: {:?}", pod.status);
        Ok(pod)
    })
    .await
}

#[test]
fn the_fake_kubelet_plays_the_life_of_a_pod() -> Result<()> {
    in_own_world(async {
        let (host, _scratch) = host().await?;
        let pods: Api<Pod> = Api::default_namespaced(host.client().await?);
        let create = async |pod: Pod| pods.create(&PostParams::default(), &pod).await;

        create(pod("plain", &json!({}), json!({}))?).await?;
        create(pod("job", &json!({"kubelet.test/exit": "0"}), json!({"restartPolicy": "Never"}))?).await?;
        create(pod("fails", &json!({"kubelet.test/exit": "3"}), json!({"restartPolicy": "Never"}))?).await?;
        create(pod("evicted", &json!({"kubelet.test/evict": ""}), json!({}))?).await?;
        create(pod("gated", &json!({}), json!({"readinessGates": [{"conditionType": "test/gate"}]}))?)
            .await?;

        let plain = phase_of(&pods, "plain", "Running").await?;
        let status = plain.status.as_ref().context("no status")?;
        ensure!(status.pod_ip.is_some() && status.observed_generation == plain.metadata.generation);
        ensure!(condition(&plain, "Ready").as_deref() == Some("True"), "{status:?}");
        phase_of(&pods, "job", "Succeeded").await?;
        phase_of(&pods, "fails", "Failed").await?;
        phase_of(&pods, "evicted", "Failed").await?;

        let gated = phase_of(&pods, "gated", "Running").await?;
        ensure!(condition(&gated, "Ready").as_deref() == Some("False"), "{gated:?}");
        let open = json!({"status": {"conditions": [{"type": "test/gate", "status": "True"}]}});
        pods.patch_status("gated", &PatchParams::default(), &Patch::Strategic(open)).await?;
        eventually("the gated pod is ready", SOON, async || {
            let gated = pods.get("gated").await?;
            ensure!(condition(&gated, "Ready").as_deref() == Some("True"), "{:?}", gated.status);
            Ok(())
        })
        .await?;

        let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}});
        pods.patch_ephemeral_containers("plain", &PatchParams::default(), &Patch::Strategic(debug)).await?;
        eventually("the ephemeral container runs", SOON, async || {
            let status = pods.get("plain").await?.status.context("no status")?;
            ensure!(status.ephemeral_container_statuses.iter().flatten().count() == 1, "{status:?}");
            Ok(())
        })
        .await?;

        pods.delete("plain", &DeleteParams::default()).await?;
        eventually("the deleted pod is gone", SOON, async || {
            ensure!(pods.get_opt("plain").await?.is_none());
            Ok(())
        })
        .await
    })
}

#[test]
fn claims_are_bound_and_grow() -> Result<()> {
    in_own_world(async {
        let (host, _scratch) = host().await?;
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(host.client().await?);
        let claim = serde_json::from_value(json!({
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }))?;
        claims.create(&PostParams::default(), &claim).await?;
        bound(&claims, "1Gi").await?;
        let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        claims.patch("data", &PatchParams::default(), &Patch::Merge(more)).await?;
        bound(&claims, "2Gi").await
    })
}

#[test]
fn a_claim_of_class_wait_is_provisioned_for_its_first_pod() -> Result<()> {
    in_own_world(async {
        let (host, _scratch) = host().await?;
        let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(host.client().await?);
        let pods: Api<Pod> = Api::default_namespaced(host.client().await?);
        let claim = serde_json::from_value(json!({
            "metadata": {"name": "data"},
            "spec": {
                "storageClassName": "wait",
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }))?;
        claims.create(&PostParams::default(), &claim).await?;
        let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        let user = pod("user", &json!({}), json!({"volumes": volumes}))?;
        pods.create(&PostParams::default(), &user).await?;
        bound(&claims, "1Gi").await?;
        phase_of(&pods, "user", "Running").await?;
        Ok(())
    })
}

async fn bound(claims: &Api<PersistentVolumeClaim>, size: &str) -> Result<()> {
    eventually(&format!("the claim has {size}"), SOON, async || {
        let status = claims.get("data").await?.status.context("no status")?;
        let capacity = status.capacity.iter().flatten().map(|(_, quantity)| quantity.0.as_str()).next();
        ensure!(status.phase.as_deref() == Some("Bound") && capacity == Some(size), "{status:?}");
        Ok(())
    })
    .await
}

#[test]
fn servers_can_be_stopped_frozen_and_started_again() -> Result<()> {
    in_own_world(async {
        let (host, _scratch) = host().await?;
        let pods: Api<Pod> = Api::default_namespaced(host.client().await?);
        host.stop_component(Component::ApiServer).await?;
        ensure!(pods.list(&ListParams::default()).await.is_err(), "a stopped server answers");
        host.start_component(Component::ApiServer).await?;
        pods.list(&ListParams::default()).await?;
        host.pause(Component::ApiServer)?;
        let frozen =
            tokio::time::timeout(Duration::from_millis(500), pods.list(&ListParams::default())).await;
        ensure!(frozen.is_err(), "a frozen server answers");
        host.resume(Component::ApiServer)?;
        host.ready().await
    })
}

#[test]
fn children_end_with_the_process_that_started_them() -> Result<()> {
    in_runtime(async {
        let scratch = Scratch::new()?;
        let planes = binaries::planes().await?;
        let child = process::Process::start(&process::Launch {
            name: "sleep".to_owned(),
            planes,
            args: ["run", "sleep", "600"].map(Into::into).to_vec(),
            env: Vec::new(),
            log: scratch.path().join("sleep.log"),
        })?;
        let proc = format!("/proc/{}", child.pid());
        eventually("it has become the program", SOON, async || {
            let command = std::fs::read_to_string(format!("{proc}/cmdline"))?;
            ensure!(command.starts_with("sleep"), "it is {command}");
            Ok(())
        })
        .await?;
        drop(child);
        ensure!(!std::path::Path::new(&proc).exists(), "it outlived its handle");
        Ok(())
    })
}

#[test]
fn a_syncer_has_no_permissions_outside_its_host_namespace() -> Result<()> {
    in_own_world(async {
        let world = World::without_syncer(world::Options::build().await?).await?;
        let other = world.another_tenant_without_syncer("other", "team-b", &json!({})).await?;
        for tenant in [world.tenant(), &other] {
            let host = tenant.host_plane().client_as(&tenant.host_user()).await?;
            let own: Api<Pod> = Api::namespaced(host.clone(), tenant.namespace());
            own.list(&ListParams::default()).await?;
            let foreign: Api<Pod> = Api::namespaced(host.clone(), "default");
            ensure!(foreign.list(&ListParams::default()).await.is_err(), "it may list foreign pods");
            let all: Api<Pod> = Api::all(tenant.virtual_plane().client_as("weft-syncer").await?);
            all.list(&ListParams::default()).await?;
        }
        Ok(())
    })
}
