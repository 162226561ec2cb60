//! How many requests a plain pod's life costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::audit;
use crate::bench::Bench;
use crate::latency::PACE;
use crate::ledger::Watched;
use crate::load::Pace;
use crate::report::{Limit, Report, Row, say};

/// Keep their nodes, so that making those is not counted.
const KEPT: u32 = 6;
/// After the last pod is gone, for late events.
const LATE: Duration = Duration::from_secs(5);
/// So that events of the pods that are kept are not counted.
const QUIET: Duration = Duration::from_secs(10);

/// Counts all requests of pods that are created, run and deleted at 10/s, less those of an idle time.
pub(crate) async fn measure(bench: &Bench, pods: u32, report: &mut Report) -> Result<()> {
    say(&format!("counting the requests of {pods} pods"));
    bench.settle("kept", KEPT).await?;
    tokio::time::sleep(QUIET).await;
    let (mark, started) = (audit::mark(bench)?, Instant::now());
    live(bench, pods).await?;
    let (life, window) = (audit::since(bench, mark)?, started.elapsed());
    let mark = audit::mark(bench)?;
    say(&format!("idle for {window:.0?}"));
    tokio::time::sleep(window).await;
    let idle = audit::since(bench, mark)?;
    let requests = u32::try_from(life.len())?.saturating_sub(u32::try_from(idle.len())?);
    report.add(Row {
        key: "requests_per_pod_life",
        what: "10/s: requests for a pod's life",
        values: vec![("value", f64::from(requests) / f64::from(pods))],
        pods,
        limits: vec![Limit::AtMost { must: 9.0, aim: 7.0 }],
    });
    report.breakdown("requests of a pod's life", &audit::breakdown(&life), f64::from(pods));
    report.breakdown("requests of an idle time as long", &audit::breakdown(&idle), 1.0);
    bench.delete(&Arc::new(crate::ledger::Ledger::new("kept", KEPT)), Pace::Burst).await?;
    bench.empty().await
}

async fn live(bench: &Bench, pods: u32) -> Result<()> {
    let mut observation = bench.observe("counted", pods, Watched::Both).await?;
    let ledger = Arc::clone(&observation.ledger);
    bench.create(&ledger, PACE).await?;
    observation.until("the pods are ready", |life| life.r#virtual.ready.is_some()).await?;
    bench.agree(KEPT + pods).await?;
    bench.delete(&ledger, PACE).await?;
    observation
        .until("the pods are gone", |life| life.r#virtual.gone.is_some() && life.host.gone.is_some())
        .await?;
    tokio::time::sleep(LATE).await;
    Ok(())
}
