//! Claims are provisioned by the host, and the virtual cluster shows what became of them.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weft_tests::eventually::{SOON, eventually};
use weft_tests::shared::in_shared_world;
use weft_tests::world::World;

use super::both::{Both, at, ensure_same, name_of, text, uid};

/// A tenant's own copies of the host's classes: its API server lets nobody resize without one.
async fn both_with_classes(world: &World, namespace: &str) -> Result<Both> {
    let both = Both::of(world, namespace).await?;
    let classes: Api<StorageClass> = Api::all(both.virtual_client());
    for (name, mode) in [("standard", "Immediate"), ("wait", "WaitForFirstConsumer"), ("fixed", "Immediate")]
    {
        let class = serde_json::from_value(json!({
            "metadata": {"name": name}, "provisioner": "test.weft.dev/volumes", "volumeBindingMode": mode,
            "allowVolumeExpansion": true,
        }))?;
        match classes.create(&PostParams::default(), &class).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            result => drop(result?),
        }
    }
    Ok(both)
}

fn claim(name: &str, class: &str, more: &Value) -> Value {
    let mut spec = json!({
        "storageClassName": class, "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    });
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more.clone()) {
        spec.extend(more);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn pod_with(claim: &str) -> Value {
    json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]})
}

/// Waits until the claim is bound on both sides, to the same volume, with this capacity.
async fn bound(both: &Both, name: &str, size: &str) -> Result<(Value, Value)> {
    eventually(&format!("the claim {name} is bound on both sides with {size}"), SOON, async || {
        let pair = both.pair::<PersistentVolumeClaim>(name).await?;
        ensure!(text(&pair.0, "/status/phase") == "Bound", "it is {}", at(&pair.0, "/status"));
        ensure!(text(&pair.0, "/status/capacity/storage") == size, "it is {}", at(&pair.0, "/status"));
        ensure_same(&pair, &["/spec/volumeName", "/spec/storageClassName", "/status"])?;
        Ok(pair)
    })
    .await
}

async fn volume(both: &Both, name: &str) -> Result<Option<Value>> {
    let volumes: Api<PersistentVolume> = Api::all(both.virtual_client());
    Ok(volumes.get_opt(name).await?.map(serde_json::to_value).transpose()?)
}

/// Waits until the virtual volume of a bound claim shows it, with this capacity.
async fn mirrored(both: &Both, claim: &Value, size: &str) -> Result<String> {
    let name = text(claim, "/spec/volumeName");
    eventually(&format!("the volume {name} is in the virtual cluster with {size}"), SOON, async || {
        let Some(volume) = volume(both, name).await? else { anyhow::bail!("it is not there") };
        ensure!(text(&volume, "/status/phase") == "Bound", "it is {}", at(&volume, "/status"));
        ensure!(text(&volume, "/spec/capacity/storage") == size, "{}", at(&volume, "/spec"));
        let owner = at(&volume, "/spec/claimRef");
        ensure!(text(owner, "/uid") == uid(claim) && text(owner, "/name") == name_of(claim), "{owner}");
        ensure!(text(owner, "/namespace") == both.namespace(), "{owner}");
        ensure!(text(&volume, "/spec/storageClassName") == text(claim, "/spec/storageClassName"), "{volume}");
        Ok(())
    })
    .await?;
    Ok(name.to_owned())
}

#[test]
fn a_claim_is_bound_grows_and_takes_its_volume_with_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = both_with_classes(world, namespace).await?;
        both.create::<PersistentVolumeClaim>(claim("data", "standard", &json!({}))).await?;
        let (data, _) = bound(&both, "data", "1Gi").await?;
        mirrored(&both, &data, "1Gi").await?;

        let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        both.edit::<PersistentVolumeClaim>("data", more).await?;
        let (data, _) = bound(&both, "data", "2Gi").await?;
        let name = mirrored(&both, &data, "2Gi").await?;

        both.delete::<PersistentVolumeClaim>("data").await?;
        both.leaves::<PersistentVolumeClaim>("data").await?;
        both.gone::<PersistentVolumeClaim>("data").await?;
        volume_gone(&both, &name).await
    })
}

#[test]
fn a_volume_that_the_host_does_not_expand_has_an_event_that_names_the_class_and_its_field() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = both_with_classes(world, namespace).await?;
        both.create::<PersistentVolumeClaim>(claim("data", "fixed", &json!({}))).await?;
        bound(&both, "data", "1Gi").await?;
        let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        both.edit::<PersistentVolumeClaim>("data", more).await?;
        let missing = "the host's StorageClass \"fixed\" must have `allowVolumeExpansion: true`";
        both.event("data", "HostRefused", missing).await?;
        bound(&both, "data", "1Gi").await?;
        Ok(())
    })
}

/// Waits until both the virtual volume and the host's are gone.
async fn volume_gone(both: &Both, name: &str) -> Result<()> {
    eventually(&format!("the volume {name} is gone"), SOON, async || {
        ensure!(volume(both, name).await?.is_none(), "it is in the virtual cluster");
        let volumes: Api<PersistentVolume> = Api::all(both.host_client());
        ensure!(volumes.get_opt(name).await?.is_none(), "it is on the host");
        Ok(())
    })
    .await
}

#[test]
fn a_claim_without_a_class_shows_the_one_that_the_host_chose() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = both_with_classes(world, namespace).await?;
        let mut data = claim("data", "", &json!({}));
        data["spec"]["storageClassName"] = Value::Null;
        both.create::<PersistentVolumeClaim>(data).await?;
        let (data, _) = bound(&both, "data", "1Gi").await?;
        ensure!(text(&data, "/spec/storageClassName") == "standard", "{}", data["spec"]);
        Ok(())
    })
}

#[test]
fn a_claim_that_waits_for_its_first_pod_is_bound_with_it_and_outlives_its_deletion() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = both_with_classes(world, namespace).await?;
        both.create::<PersistentVolumeClaim>(claim("data", "wait", &json!({}))).await?;
        let host = both.arrives::<PersistentVolumeClaim>("data").await?;
        ensure!(text(&host, "/status/phase") == "Pending", "{}", host["status"]);
        both.create_pod("user", pod_with("data")).await?;
        both.runs("user").await?;
        let (data, host) = bound(&both, "data", "1Gi").await?;
        let name = mirrored(&both, &data, "1Gi").await?;

        both.delete::<PersistentVolumeClaim>("data").await?;
        // Something else that happens after it shows that the syncer has looked since.
        both.create::<PersistentVolumeClaim>(claim("other", "standard", &json!({}))).await?;
        bound(&both, "other", "1Gi").await?;
        let (data, still) = both.pair::<PersistentVolumeClaim>("data").await?;
        ensure!(!text(&data, "/metadata/deletionTimestamp").is_empty(), "its deletion is forgotten: {data}");
        ensure!(uid(&still) == uid(&host), "the host's claim was made anew");
        ensure!(text(&still, "/metadata/deletionTimestamp").is_empty(), "it is being deleted: {still}");
        both.runs("user").await?;

        both.delete::<Pod>("user").await?;
        both.gone::<PersistentVolumeClaim>("data").await?;
        both.leaves::<PersistentVolumeClaim>("data").await?;
        volume_gone(&both, &name).await
    })
}

#[test]
fn each_pod_of_a_stateful_set_has_its_claim() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = both_with_classes(world, namespace).await?;
        let mount = json!([{"name": "data", "mountPath": "/data"}]);
        both.create::<StatefulSet>(json!({
            "metadata": {"name": "db"},
            "spec": {
                "serviceName": "db", "replicas": 2, "selector": {"matchLabels": {"app": "db"}},
                "template": {
                    "metadata": {"labels": {"app": "db"}},
                    "spec": {"containers": [{"name": "main", "image": "nginx", "volumeMounts": mount}]},
                },
                "volumeClaimTemplates": [claim("data", "wait", &json!({}))],
            },
        }))
        .await?;
        for number in ["0", "1"] {
            both.runs(&format!("db-{number}")).await?;
            bound(&both, &format!("data-db-{number}"), "1Gi").await?;
            let (pod, host) = both.pair::<Pod>(&format!("db-{number}")).await?;
            let host_claim = both.host::<PersistentVolumeClaim>(&format!("data-db-{number}")).await?;
            let used = text(&host, "/spec/volumes/0/persistentVolumeClaim/claimName");
            ensure!(used == name_of(&host_claim), "the host pod of {} uses {used}", name_of(&pod));
        }
        Ok(())
    })
}

#[test]
fn a_claim_that_names_a_volume_is_refused_with_an_event() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = both_with_classes(world, namespace).await?;
        let fixed = claim("fixed", "", &json!({"volumeName": "somebodys"}));
        both.create::<PersistentVolumeClaim>(fixed).await?;
        both.event("fixed", "SyncRefused", "spec.volumeName").await?;
        let host = both.find_host::<PersistentVolumeClaim>("fixed").await?;
        ensure!(host.is_none(), "it is on the host: {host:?}");
        Ok(())
    })
}

#[test]
fn a_claim_that_copies_another_names_its_host_claim() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = both_with_classes(world, namespace).await?;
        both.create::<PersistentVolumeClaim>(claim("first", "standard", &json!({}))).await?;
        let (_, first) = bound(&both, "first", "1Gi").await?;
        let source = json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "first"}});
        both.create::<PersistentVolumeClaim>(claim("copy", "standard", &source)).await?;
        let (copy, host) = bound(&both, "copy", "1Gi").await?;
        ensure!(text(&host, "/spec/dataSource/name") == name_of(&first), "{}", host["spec"]);
        ensure!(text(&copy, "/spec/dataSource/name") == "first", "{}", copy["spec"]);
        Ok(())
    })
}

#[test]
fn a_mirrored_volume_without_a_status_gets_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let both = both_with_classes(world, namespace).await?;
        both.create::<PersistentVolumeClaim>(claim("data", "standard", &json!({}))).await?;
        let (data, _) = bound(&both, "data", "1Gi").await?;
        let name = mirrored(&both, &data, "1Gi").await?;
        // As a syncer leaves it that ends between the creation and the status.
        let volumes: Api<PersistentVolume> = Api::all(both.virtual_client());
        let status = Patch::Merge(json!({"status": {"phase": "Pending"}}));
        let patched = volumes.patch_status(&name, &PatchParams::default(), &status).await?;
        let phase = patched.status.and_then(|status| status.phase);
        ensure!(phase.as_deref() == Some("Pending"), "it is {phase:?}");
        mirrored(&both, &data, "1Gi").await?;
        Ok(())
    })
}
