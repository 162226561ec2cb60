//! What pairs that have settled cost in memory, and how soon a restarted syncer works again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::audit::{self, Request};
use crate::bench::Bench;
use crate::ledger::{Ledger, Observation, Watched};
use crate::load::Pace;
use crate::report::{Limit, Report, Row, say};
use crate::statistics::median;
use crate::usage;

/// After the start of an empty syncer.
const EMPTY: Duration = Duration::from_secs(5);
/// After the last pair is made.
const SETTLE: Duration = Duration::from_secs(10);
/// How long before the syncer's start the probe is made.
const AHEAD: Duration = Duration::from_secs(1);
/// Interval between two health checks.
const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_mins(1);
/// Restarts, of which the median is reported.
const RESTARTS: u32 = 3;

/// The name of the pods that stay.
const ROUND: &str = "settled";

/// Memory is reported in millions of bytes.
const MB: f64 = 1e6;

/// Fills an empty cluster with pairs, and measures the syncer before and after.
pub(crate) async fn memory(bench: &Bench, pods: u32, report: &mut Report) -> Result<()> {
    tokio::time::sleep(EMPTY).await;
    let empty = f64::from(usage::resident(bench.syncer()?)?);
    fill(bench, pods).await?;
    let full = f64::from(usage::resident(bench.syncer()?)?);
    let at_most = |must, aim| vec![Limit::AtMost { must, aim }];
    report.add(Row {
        key: "rss_empty_mb",
        what: "memory of an empty syncer, MB",
        values: vec![("value", empty / MB)],
        pods: 0,
        limits: at_most(25.0, 25.0),
    });
    report.add(Row::plain("rss_mb", "memory with settled pairs, MB", full / MB, pods));
    report.add(Row {
        key: "bytes_per_pair",
        what: "memory of a settled pair, bytes",
        values: vec![("value", (full - empty) / f64::from(pods))],
        pods,
        limits: at_most(15_000.0, 4_000.0),
    });
    Ok(())
}

/// Removes the pairs.
pub(crate) async fn clear(bench: &Bench, pods: u32) -> Result<()> {
    bench.delete(&Arc::new(Ledger::new(ROUND, pods)), Pace::Burst).await?;
    bench.empty().await
}

/// Makes pairs, lets them come to rest, and checks them.
pub(crate) async fn fill(bench: &Bench, pods: u32) -> Result<()> {
    say(&format!("settling {pods} pairs"));
    bench.settle(ROUND, pods).await?;
    bench.agree(pods).await?;
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

/// How long a restarted syncer takes until it is ready and has forwarded what was made while it was away.
pub(crate) async fn restart_time(bench: &Bench, pods: u32, report: &mut Report) -> Result<()> {
    let median = restarts(bench, pods).await?;
    report.add(Row {
        key: "restart_s",
        what: "restart until ready and forwarding, s",
        values: vec![("value", median)],
        pods,
        limits: vec![Limit::AtMost { must: 5.0, aim: 1.5 }],
    });
    Ok(())
}

/// The median of several restarts, in seconds.
pub(crate) async fn restarts(bench: &Bench, pods: u32) -> Result<f64> {
    let mut times = Vec::new();
    for number in 0..RESTARTS {
        let restarted = restart(bench, &format!("probe-{number}")).await?;
        times.push(restarted.took.as_secs_f64());
        bench.delete(&restarted.observation.ledger, Pace::Burst).await?;
        tokio::time::sleep(EMPTY).await;
        bench.agree(pods).await?;
    }
    say(&format!("restarts took {times:.2?} s"));
    Ok(median(&times))
}

/// What a restarted syncer writes although nothing but the probe has changed.
pub(crate) async fn restart_writes(bench: &Bench, pods: u32, report: &mut Report) -> Result<()> {
    let before = audit::mark(bench)?;
    let Restarted { mut observation, .. } = restart(bench, "probe").await?;
    observation.until("the probe is ready", |life| life.r#virtual.ready.is_some()).await?;
    tokio::time::sleep(SETTLE).await;
    bench.agree(pods + 1).await?;
    let probes = observation.ledger.each(|life| Some([life.host.name.clone(), life.r#virtual.name.clone()]));
    let about_probe = |request: &Request| probes.iter().flatten().any(|name| request.is_about(name));
    let requests: Vec<Request> = audit::since(bench, before)?;
    let writes: Vec<Request> =
        requests.iter().filter(|request| request.writes() && !about_probe(request)).cloned().collect();
    report.add(Row {
        key: "restart_writes",
        what: "writes of a restart with nothing to do",
        values: vec![("value", f64::from(u32::try_from(writes.len())?))],
        pods,
        limits: vec![Limit::AtMost { must: 0.0, aim: 0.0 }],
    });
    report.breakdown("writes of the restart", &audit::breakdown(&writes), 1.0);
    report.breakdown("all requests of the restart, the probe's too", &audit::breakdown(&requests), 1.0);
    Ok(())
}

struct Restarted {
    took: Duration,
    observation: Observation,
}

/// Ends the syncer, makes a probe, and starts it again.
async fn restart(bench: &Bench, probe: &str) -> Result<Restarted> {
    bench.tenant.stop_syncer().await?;
    let mut observation = bench.observe(probe, 1, Watched::Both).await?;
    bench.create(&Arc::clone(&observation.ledger), Pace::Burst).await?;
    tokio::time::sleep(AHEAD).await;
    let started = Instant::now();
    bench.tenant.launch_syncer()?;
    let ready = ready(bench, started);
    let forwarded = observation.until("the probe is on the host", |life| life.host.added.is_some());
    let (ready, ()) = tokio::try_join!(ready, forwarded)?;
    let forwarded = observation.ledger.each(|life| life.host.added).into_iter().max().unwrap_or(started);
    let took = ready.max(forwarded) - started;
    say(&format!(
        "restart: ready after {:?}, probe on the host after {:?}",
        ready - started,
        forwarded - started
    ));
    Ok(Restarted { took, observation })
}

/// The time at which the syncer is ready.
async fn ready(bench: &Bench, started: Instant) -> Result<Instant> {
    while started.elapsed() < PATIENCE {
        if bench.tenant.probe("/readyz").await.is_ok() {
            return Ok(Instant::now());
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("the syncer was not ready within {PATIENCE:?}")
}
