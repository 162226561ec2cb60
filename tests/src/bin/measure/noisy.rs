//! What a noisy neighbour costs: the latency of pods beside a namespace whose pods the host refuses, against the same without it.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use weft_tests::eventually::{SOON, eventually};

use crate::bench::{Bench, HOST_NAMESPACE};
use crate::latency::{self, Latencies};
use crate::report::{Limit, Report, Row, say};
use crate::statistics::quantile;

/// As many as made a syncer write 46 times a second.
const REFUSED: u32 = 600;
const NEIGHBOUR: &str = "noisy";
/// Refuses pods with a deadline, which only the neighbour's have.
const QUOTA: &str = "no-deadlines";

/// The open loop alone, and beside the neighbour.
pub(crate) async fn measure(bench: &Bench, pods: u32, report: &mut Report) -> Result<()> {
    let alone = latency::open_loop(bench, "alone", pods, 0).await?;
    say(&format!("adding {REFUSED} pods that the host refuses"));
    let (host, inner) = (bench.host_plane.client().await?, bench.tenant.virtual_plane().client().await?);
    refuse(&host).await?;
    fill(&inner).await?;
    let beside = latency::open_loop(bench, "beside", pods, 0).await?;
    let at_most = Limit::AtMost { must: 2.0, aim: 1.2 };
    report.add(Row {
        key: "noisy_p99_ratio",
        what: "p99 beside refused pods, against alone",
        values: vec![
            ("forward", ratio(&beside, &alone, |latencies| &latencies.forward)),
            ("back", ratio(&beside, &alone, |latencies| &latencies.back)),
        ],
        pods: REFUSED,
        limits: vec![at_most; 2],
    });
    Api::<Namespace>::all(inner).delete(NEIGHBOUR, &DeleteParams::default()).await?;
    Api::<ResourceQuota>::namespaced(host, HOST_NAMESPACE).delete(QUOTA, &DeleteParams::default()).await?;
    Ok(())
}

fn ratio(beside: &Latencies, alone: &Latencies, of: fn(&Latencies) -> &[f64]) -> f64 {
    // A watch may be faster than a reply: what takes no time at all is taken for a millisecond.
    let p99 = |latencies| quantile(of(latencies), 99).max(1.0);
    p99(beside) / p99(alone)
}

async fn refuse(host: &Client) -> Result<()> {
    let quota = serde_json::from_value(json!({
        "metadata": {"name": QUOTA}, "spec": {"hard": {"pods": "0"}, "scopes": ["Terminating"]},
    }))?;
    let quotas = Api::<ResourceQuota>::namespaced(host.clone(), HOST_NAMESPACE);
    quotas.create(&PostParams::default(), &quota).await?;
    eventually("the quota is in force", SOON, async || {
        let status = quotas.get(QUOTA).await?.status.and_then(|status| status.hard);
        anyhow::ensure!(status.is_some(), "its controller has not counted yet");
        Ok(())
    })
    .await
}

async fn fill(inner: &Client) -> Result<()> {
    let namespace = serde_json::from_value(json!({"metadata": {"name": NEIGHBOUR}}))?;
    Api::<Namespace>::all(inner.clone()).create(&PostParams::default(), &namespace).await?;
    let accounts = Api::<ServiceAccount>::namespaced(inner.clone(), NEIGHBOUR);
    eventually("pods can be created", SOON, async || Ok(accounts.get("default").await.map(drop)?)).await?;
    let pods = Api::<Pod>::namespaced(inner.clone(), NEIGHBOUR);
    for number in 0..REFUSED {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": format!("refused-{number}")},
            "spec": {
                "activeDeadlineSeconds": 3600,
                "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "bench.invalid/refused"}],
            },
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
    }
    Ok(())
}
