//! Jobs of the virtual cluster: their pods end on the host, and the Job controller sees how.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};
use weft_tests::eventually::eventually;
use weft_tests::shared::in_shared_world;

use super::place::{Place, phase, pod, with};

/// The Job controller waits ten seconds before it tries again; a cron schedule comes once a minute.
const PATIENCE: Duration = Duration::from_secs(90);

fn job(name: &str, exit: &str, more: Value) -> Value {
    let template =
        with(pod(name, json!({"restartPolicy": "Never"})), "annotations", json!({"kubelet.test/exit": exit}));
    let mut spec = json!({"template": template});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Waits for a condition of a Job; gives the reason.
async fn ended(place: &Place, name: &str, kind: &str) -> Result<Job> {
    eventually(&format!("job {name} is {kind}"), PATIENCE, async || {
        let job = place.on_virtual::<Job>().get(name).await?;
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let is_so = conditions.clone().any(|condition| condition.type_ == kind && condition.status == "True");
        ensure!(is_so, "{:?}", job.status);
        Ok(job)
    })
    .await
}

async fn pods_of(place: &Place, job: &str) -> Result<Vec<Pod>> {
    let selector = format!("batch.kubernetes.io/job-name={job}");
    Ok(place.on_virtual::<Pod>().list(&ListParams::default().labels(&selector)).await?.items)
}

#[test]
fn a_job_completes_with_its_pods() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.create::<Job>(job("count", "0", json!({"completions": 4, "parallelism": 2}))).await?;
        ended(&place, "count", "Complete").await?;
        let pods = pods_of(&place, "count").await?;
        ensure!(pods.len() == 4, "it had {} pods", pods.len());
        for pod in &pods {
            let host = place.pair(&pod.name_any()).await?.host_pod;
            ensure!((phase(pod), phase(&host)) == ("Succeeded", "Succeeded"), "{pod:#?}");
        }
        Ok(())
    })
}

#[test]
fn a_failing_job_tries_as_often_as_it_may() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        place.create::<Job>(job("fails", "3", json!({"backoffLimit": 1}))).await?;
        ended(&place, "fails", "Failed").await?;
        let pods = pods_of(&place, "fails").await?;
        ensure!(pods.len() == 2, "one try and one more, but it had {} pods", pods.len());
        for pod in &pods {
            let host = place.pair(&pod.name_any()).await?.host_pod;
            ensure!((phase(pod), phase(&host)) == ("Failed", "Failed"), "{pod:#?}");
            let codes = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
            let codes =
                codes.filter_map(|status| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code));
            ensure!(codes.eq([3]), "{pod:#?}");
        }
        Ok(())
    })
}

#[test]
fn a_cron_job_runs_on_the_host_when_its_time_comes() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let place = Place::of(world.tenant(), namespace).await?;
        let template = job("tick", "0", json!({}));
        let spec = json!({"schedule": "* * * * *", "jobTemplate": {"spec": template.get("spec")}});
        place.create::<CronJob>(json!({"metadata": {"name": "tick"}, "spec": spec})).await?;
        let name = eventually("the cron job has made a job", PATIENCE, async || {
            let jobs = place.on_virtual::<Job>().list(&ListParams::default()).await?;
            Ok(jobs.items.first().context("there is no job")?.name_any())
        })
        .await?;
        ended(&place, &name, "Complete").await?;
        place.delete::<CronJob>("tick").await?;
        eventually("its pods are gone from both sides", PATIENCE, async || {
            let left = (pods_of(&place, &name).await?.len(), place.host_objects::<Pod>().await?.len());
            ensure!(left == (0, 0), "virtual and host pods left: {left:?}");
            Ok(())
        })
        .await
    })
}
