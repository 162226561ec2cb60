//! Whether a pod costs more in a large cluster: CPU from 500 to 10,000 pairs, beside many namespaces and Services, and in
//! the end memory and a restart.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::load::{self, Pace};
use crate::report::{Report, say};
use crate::statistics::{per_pod_ms, slope};
use crate::{settled, usage};

/// Of the virtual cluster; all but the one of the Services are empty.
const NAMESPACES: u32 = 3_000;
/// In another namespace than the pods: each Service of their own is a dozen environment variables of every pod, and no kubelet starts a
/// container with so many.
const SERVICES: u32 = 2_000;
/// Pairs after each burst that is measured.
const SIZES: [u32; 5] = [500, 1_000, 2_500, 5_000, 10_000];
/// The pods of such a burst.
const BURST: u32 = 500;
/// What the slope of CPU a pod may be, of logarithms: an eighth more at ten times the size.
const MOST_SLOPE: f64 = 0.05;
/// A syncer that uses less than this much CPU within the pause is at rest.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
const MB: f64 = 1e6;

/// Fills a virtual cluster step by step, and measures the last burst of each.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    bench.start_syncer().await?;
    crowd(bench).await?;
    let mut points = Vec::new();
    let mut pairs = 0;
    for size in SIZES {
        let fill = size - BURST - pairs;
        if fill > 0 {
            say(&format!("settling {fill} pairs more"));
            bench.settle(&format!("fill-{size}"), fill).await?;
        }
        at_rest(bench).await?;
        let before = usage::cpu(bench.syncer()?)?;
        bench.settle(&format!("burst-{size}"), BURST).await?;
        at_rest(bench).await?;
        let cpu = per_pod_ms(usage::cpu(bench.syncer()?)?.saturating_sub(before), BURST);
        say(&format!("{size} pairs: {cpu:.2} ms of CPU a pod"));
        points.push((f64::from(size), cpu));
        pairs = size;
    }
    bench.agree(pairs).await?;
    let memory = f64::from(usage::resident(bench.syncer()?)?) / MB;
    let restart = settled::restarts(bench, pairs).await?;
    add(report, &points, memory, restart);
    Ok(())
}

/// What else a large cluster has.
async fn crowd(bench: &Bench) -> Result<()> {
    say(&format!("creating {NAMESPACES} namespaces and {SERVICES} Services"));
    let namespaces = (0..NAMESPACES).map(|number| json!({"metadata": {"name": format!("empty-{number}")}}));
    create(bench, "namespaces", namespaces.collect()).await?;
    let services = (0..SERVICES).map(|number| {
        let spec = json!({"selector": {"app": format!("app-{number}")}, "ports": [{"port": 80}]});
        json!({"metadata": {"name": format!("service-{number}")}, "spec": spec})
    });
    create(bench, "namespaces/empty-0/services", services.collect()).await?;
    at_rest(bench).await
}

async fn create(bench: &Bench, path: &str, objects: Vec<Value>) -> Result<()> {
    load::run(Pace::Burst, &objects, |object, _| {
        let (server, path, object) = (bench.r#virtual.clone(), path.to_owned(), object.clone());
        async move { server.ensure(&path, &object).await }
    })
    .await
}

/// Waits until the syncer has done all that there is to do.
async fn at_rest(bench: &Bench) -> Result<()> {
    let (little, pause) = REST;
    let mut last = usage::cpu(bench.syncer()?)?;
    loop {
        tokio::time::sleep(pause).await;
        let now = usage::cpu(bench.syncer()?)?;
        if now.saturating_sub(last) < little {
            return Ok(());
        }
        last = now;
    }
}

fn add(report: &mut Report, points: &[(f64, f64)], memory: f64, restart: f64) {
    let slope = slope(points);
    let verdict = if slope <= MOST_SLOPE { "flat" } else { "NOT flat" };
    let mut text = format!("\nscale, beside {NAMESPACES} namespaces and {SERVICES} Services:\n");
    for (pairs, cpu) in points {
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {pairs:6} pairs  {cpu:6.2} ms of CPU a pod");
    }
    let _ = writeln!(
        text,
        "    slope of the logarithms {slope:.3} (must be at most {MOST_SLOPE}): {verdict}; then {memory:.1} MB, and a restart takes {restart:.2} s"
    );
    let (pairs, cpu) = points.last().copied().unwrap_or_default();
    let steps: Vec<Value> =
        points.iter().map(|(pairs, cpu)| json!({"pairs": pairs, "cpu_ms_per_pod": cpu})).collect();
    let all = json!({
        "pairs": pairs, "cpu_ms_per_pod": cpu, "restart_s": restart, "rss_mb": memory, "slope": slope, "steps": steps,
    });
    report.section("scale", text, all);
}
