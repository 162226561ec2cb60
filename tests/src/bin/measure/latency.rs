//! What a syncer adds at light load: virtual pod to host pod, host status to virtual status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::Bench;
use crate::by_hand::ByHand;
use crate::ledger::{Ledger, Life, Watched};
use crate::load::Pace;
use crate::pods::Template;
use crate::report::{Limit, Report, Row, say};
use crate::statistics::{ms, per_pod_ms, quantile};
use crate::throughput::idle;
use crate::usage;

/// Light for every machine that can run two planes.
pub(crate) const PACE: Pace = Pace::PerSecond(10);
/// Of the median, and of the slowest percent.
const LIMITS: [Limit; 2] = [Limit::AtMost { must: 3.0, aim: 1.0 }, Limit::AtMost { must: 15.0, aim: 5.0 }];
/// The idle window is scaled: one as long as the load would take minutes.
const IDLE: Duration = Duration::from_secs(20);

/// The latencies of one open loop, in milliseconds.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// From the server's reply to the client, to the host pod seen.
    pub(crate) forward: Vec<f64>,
    /// The same from the moment the pod was due.
    forward_from_due: Vec<f64>,
    /// From the host pod seen ready to the virtual pod seen ready.
    pub(crate) back: Vec<f64>,
    /// From the moment the pod was due to the virtual pod seen ready.
    whole: Vec<f64>,
}

/// The open loop with the syncer, beside pairs that exist already.
pub(crate) async fn measure(bench: &Bench, pods: u32, existing: u32, report: &mut Report) -> Result<()> {
    let syncer = bench.syncer()?;
    let (started, before) = (Instant::now(), usage::cpu(syncer)?);
    let latencies = open_loop(bench, "loop", pods, existing).await?;
    let (window, spent) = (started.elapsed(), usage::cpu(syncer)?.saturating_sub(before));
    let idle = idle(syncer, IDLE).await?.mul_f64(window.as_secs_f64() / IDLE.as_secs_f64());
    let cpu = per_pod_ms(spent.saturating_sub(idle), pods);
    report.note(format!(
        "at 10 pods/s beside {existing} pairs: syncer CPU {cpu:.2} ms a pod life (idle {idle:.2?} in {window:.0?} \
         taken off)"
    ));
    latencies.report("the syncer", report);
    report.add(row("forward_ms", "10/s: create reply to host pod seen, ms", &latencies.forward, pods));
    report.add(row("back_ms", "10/s: host ready to virtual ready, ms", &latencies.back, pods));
    Ok(())
}

/// The open loop with the syncer: pods come and go at the pace.
pub(crate) async fn open_loop(bench: &Bench, round: &str, pods: u32, existing: u32) -> Result<Latencies> {
    let mut observation = bench.observe(round, pods, Watched::Both).await?;
    let ledger = Arc::clone(&observation.ledger);
    bench.create(&ledger, PACE).await?;
    observation.until("the pods are ready", |life| life.r#virtual.ready.is_some()).await?;
    bench.agree(existing + pods).await?;
    bench.delete(&ledger, PACE).await?;
    observation
        .until("the pods are gone", |life| life.r#virtual.gone.is_some() && life.host.gone.is_some())
        .await?;
    Ok(Latencies::of(&ledger))
}

/// The open loop by hand: what the servers, the network and the client's own watches take anyway.
pub(crate) async fn floor(bench: &Bench, template: &Template, pods: u32, report: &mut Report) -> Result<()> {
    let mut observation = bench.observe("floor", pods, Watched::Both).await?;
    let ledger = Arc::clone(&observation.ledger);
    let hands = ByHand::start(bench, &ledger, template);
    bench.create(&ledger, PACE).await?;
    observation.until("the pods are ready", |life| life.r#virtual.ready.is_some()).await?;
    hands.done().await?;
    bench.agree(pods).await?;
    bench.delete_by_hand(&ledger).await?;
    bench.empty().await?;
    let latencies = Latencies::of(&ledger);
    latencies.report("by hand", report);
    report.add(row(
        "forward_floor_ms",
        "10/s by hand: create reply to host pod, ms",
        &latencies.forward,
        pods,
    ));
    report.add(row("back_floor_ms", "10/s by hand: host to virtual ready, ms", &latencies.back, pods));
    report.add_difference(
        "forward_added_ms",
        "10/s: added to create to host, ms",
        ["forward_ms", "forward_floor_ms"],
        &LIMITS,
    );
    report.add_difference(
        "back_added_ms",
        "10/s: added to host to virtual, ms",
        ["back_ms", "back_floor_ms"],
        &LIMITS,
    );
    Ok(())
}

fn row(key: &'static str, what: &'static str, numbers: &[f64], pods: u32) -> Row {
    let values = vec![("p50", quantile(numbers, 50)), ("p99", quantile(numbers, 99))];
    Row { key, what, values, pods, limits: Vec::new() }
}

impl Latencies {
    fn of(ledger: &Ledger) -> Self {
        let all = |from: fn(&Life) -> Option<Instant>, to: fn(&Life) -> Option<Instant>| {
            ledger.each(|life| Some(difference(from(life)?, to(life)?)))
        };
        Self {
            forward: all(|life| life.replied, |life| life.host.added),
            forward_from_due: all(|life| life.due, |life| life.host.added),
            back: all(|life| life.host.ready, |life| life.r#virtual.ready),
            whole: all(|life| life.due, |life| life.r#virtual.ready),
        }
    }

    fn report(&self, who: &str, report: &mut Report) {
        let pair = |numbers: &[f64]| [quantile(numbers, 50), quantile(numbers, 99)];
        let text = format!(
            "10/s, {who}, p50 and p99 in ms: forward {:.2?}, from the due time {:.2?}, back {:.2?}, due to ready {:.2?}",
            pair(&self.forward),
            pair(&self.forward_from_due),
            pair(&self.back),
            pair(&self.whole),
        );
        say(&text);
        report.note(text);
    }
}

/// A watch may be faster than a reply.
fn difference(from: Instant, to: Instant) -> f64 {
    ms(to.saturating_duration_since(from)) - ms(from.saturating_duration_since(to))
}
