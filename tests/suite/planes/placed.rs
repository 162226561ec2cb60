//! A pod that the host has placed, and whose binding the virtual API server does not take, runs once and not twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use weft_tests::eventually::{SOON, always, eventually};
use weft_tests::shared::in_own_world;
use weft_tests::world::World;

use super::place::{Place, identity_uid, phase, pod};

/// Long enough for a wrong second step to be taken.
const A_WHILE: Duration = Duration::from_secs(3);
/// The longest pause after failures, and room.
const HEALED: Duration = Duration::from_mins(1);
/// On the host Service of the virtual API server: what only the syncer knows.
const RECORD: &str = "weft.dev/placed";

/// Has the virtual API server refuse every binding, status and deletion of pods.
async fn refuse_writes(place: &Place) -> Result<()> {
    let rules = json!([
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods/binding", "pods/status"]},
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"]},
    ]);
    let policy = json!({
        "metadata": {"name": "deaf"},
        "spec": {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "false"}]},
    });
    let binding =
        json!({"metadata": {"name": "deaf"}, "spec": {"policyName": "deaf", "validationActions": ["Deny"]}});
    let (policies, bindings) = (place.all_virtual(), place.all_virtual());
    let policy: ValidatingAdmissionPolicy = serde_json::from_value(policy)?;
    let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(binding)?;
    policies.create(&PostParams::default(), &policy).await?;
    bindings.create(&PostParams::default(), &binding).await?;
    eventually("the virtual API server refuses a status", SOON, async || {
        let status = json!({"status": {"message": "probe"}});
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let written = place.on_virtual::<Pod>().patch_status("probe", &params, &Patch::Merge(status)).await;
        ensure!(written.is_err(), "it was accepted");
        Ok(())
    })
    .await
}

async fn accept_writes(place: &Place) -> Result<()> {
    place.all_virtual::<ValidatingAdmissionPolicyBinding>().delete("deaf", &DeleteParams::default()).await?;
    Ok(())
}

/// What the syncer has recorded on the host.
async fn record(world: &World, place: &Place) -> Result<String> {
    let service = place.on_host::<Service>().get(world.tenant().cluster()).await?;
    Ok(service.annotations().get(RECORD).cloned().unwrap_or_default())
}

async fn runs_no_second_time(place: &Place, first: &Pod, uid: &str) -> Result<()> {
    always("no second host pod is made", A_WHILE, async || {
        let host_pods = place.host_objects::<Pod>().await?;
        let again = host_pods
            .iter()
            .find(|pod| identity_uid(*pod).as_deref() == Some(uid) && pod.uid() != first.uid());
        ensure!(again.is_none(), "{again:#?}");
        Ok(())
    })
    .await
}

#[test]
fn a_pod_that_ran_while_the_virtual_cluster_took_no_write_is_not_run_again_nor_after_a_restart() -> Result<()>
{
    in_own_world(async {
        let world = World::start().await?;
        let place = Place::of(world.tenant(), "default").await?;
        place.run(pod("probe", json!({}))).await?;
        refuse_writes(&place).await?;
        let source: Pod = place.create(pod("web", json!({}))).await?;
        let uid = source.uid().context("no UID")?;
        let host_name = place.host_name("web");
        let first = eventually("the host pod runs", SOON, async || {
            let host_pod = place.on_host::<Pod>().get(&host_name).await?;
            ensure!(phase(&host_pod) == "Running", "{host_pod:#?}");
            Ok(host_pod)
        })
        .await?;
        eventually("the syncer has recorded it", SOON, async || {
            let record = record(&world, &place).await?;
            ensure!(record == uid, "the record is {record:?}");
            Ok(())
        })
        .await?;
        place.on_host::<Pod>().delete(&host_name, &DeleteParams::default().grace_period(0)).await?;
        runs_no_second_time(&place, &first, &uid).await?;

        world.tenant().kill_syncer()?;
        world.tenant().start_syncer().await?;
        runs_no_second_time(&place, &first, &uid).await?;

        accept_writes(&place).await?;
        eventually("the virtual pod is gone, and the record with it", HEALED, async || {
            let left = place.on_virtual::<Pod>().get_opt("web").await?;
            ensure!(left.is_none(), "there is {left:#?}");
            let record = record(&world, &place).await?;
            ensure!(record.is_empty(), "the record is {record:?}");
            Ok(())
        })
        .await
    })
}
