//! Pods of the virtual cluster run on the host and report back.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};
use weft_tests::pairs;
use weft_tests::shared::in_shared_world;

#[test]
fn a_virtual_pod_runs_on_the_host_and_takes_its_host_pod_with_it() -> Result<()> {
    in_shared_world(async |world, namespace| {
        let tenant = world.tenant();
        let pods: Api<Pod> = Api::namespaced(tenant.virtual_plane().client().await?, namespace);
        let host_pods: Api<Pod> = Api::namespaced(tenant.host_plane().client().await?, tenant.namespace());
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "main", "image": "nginx"}]},
        }))?;
        eventually("the pod is accepted", SOON, async || {
            pods.create(&PostParams::default(), &pod).await?;
            Ok(())
        })
        .await?;

        let host_name = eventually("the virtual pod runs as its host pod does", SOON, async || {
            let virtual_pod = pods.get("web").await?;
            let (name, host_pod) = pairs::host_pod_of(&host_pods, &virtual_pod).await?;
            let status = virtual_pod.status.context("no virtual status")?;
            let host_status = host_pod.status.context("no host status")?;
            ensure!(status.phase.as_deref() == Some("Running"), "the virtual pod is {status:?}");
            ensure!(status.pod_ip == host_status.pod_ip, "{status:?} but on the host {host_status:?}");
            Ok(name)
        })
        .await?;

        pods.delete("web", &DeleteParams::default()).await?;
        eventually("both pods are gone", SOON, async || {
            ensure!(pods.get_opt("web").await?.is_none(), "the virtual pod is there");
            ensure!(host_pods.get_opt(&host_name).await?.is_none(), "the host pod is there");
            Ok(())
        })
        .await
    })
}
