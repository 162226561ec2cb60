//! How fast a burst of pods becomes ready, with the syncer and by hand, and what it costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::Bench;
use crate::by_hand::ByHand;
use crate::ledger::{Ledger, Watched};
use crate::load::Pace;
use crate::pods::Template;
use crate::report::{Limit, Report, Row, say};
use crate::statistics::{median, per_pod_ms};
use crate::usage;

/// Before the idle window, so that what a round leaves behind is not counted in it.
const QUIET: Duration = Duration::from_secs(1);

/// What all rounds gave.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// Pods that became ready per second.
    syncer: Vec<f64>,
    ceiling: Vec<f64>,
    /// Milliseconds of everybody's processor time until a pod was ready.
    syncer_cost: Vec<f64>,
    ceiling_cost: Vec<f64>,
    /// Milliseconds of the syncer's processor time for a pod's life.
    cpu: Vec<f64>,
}

impl Rates {
    /// Pods that became ready per second with the syncer, in the middle of all rounds.
    pub(crate) fn median_of_syncer(&self) -> f64 {
        median(&self.syncer)
    }
}

/// Runs ceiling, syncer, syncer, ceiling, `times` over, after one round of each that is not counted.
pub(crate) async fn measure(
    bench: &Bench,
    template: &Template,
    pods: u32,
    times: u32,
    report: &mut Report,
) -> Result<()> {
    say("warming up");
    let mut ignored = Rates::default();
    with_syncer(bench, "warm-syncer", pods, &mut ignored).await?;
    by_hand(bench, template, "warm-ceiling", pods, &mut ignored).await?;
    let mut rates = Rates::default();
    for time in 0..times {
        by_hand(bench, template, &format!("ceiling-{time}a"), pods, &mut rates).await?;
        with_syncer(bench, &format!("syncer-{time}a"), pods, &mut rates).await?;
        with_syncer(bench, &format!("syncer-{time}b"), pods, &mut rates).await?;
        by_hand(bench, template, &format!("ceiling-{time}b"), pods, &mut rates).await?;
    }
    add_rows(&rates, pods, report);
    Ok(())
}

fn add_rows(rates: &Rates, pods: u32, report: &mut Report) {
    let (syncer, ceiling, cpu) = (median(&rates.syncer), median(&rates.ceiling), median(&rates.cpu));
    report.add(Row {
        key: "throughput_ratio",
        what: "burst: pods/s against the ceiling",
        values: vec![("value", syncer / ceiling)],
        pods,
        limits: vec![Limit::AtLeast { must: 0.8, aim: 0.95 }],
    });
    let (ours, least) = (median(&rates.syncer_cost), median(&rates.ceiling_cost));
    report.add(Row::plain("cpu_ratio", "burst: the ceiling's CPU a pod against all CPU", least / ours, pods));
    report.add(Row::plain("pods_per_s", "burst: pods/s with the syncer", syncer, pods));
    report.add(Row::plain("ceiling_pods_per_s", "burst: pods/s by hand (ceiling)", ceiling, pods));
    report.add(Row {
        key: "cpu_ms_per_pod_life",
        what: "burst: syncer CPU per pod life, ms",
        values: vec![("value", cpu)],
        pods,
        limits: vec![Limit::AtMost { must: 2.0, aim: 0.7 }],
    });
    report.note(format!("pods/s of each round: syncer {:.1?}, ceiling {:.1?}", rates.syncer, rates.ceiling));
    report.note(format!("syncer CPU of each round, ms a pod life: {:.2?}", rates.cpu));
}

/// One round in which the client does what the syncer would.
async fn by_hand(
    bench: &Bench,
    template: &Template,
    round: &str,
    pods: u32,
    rates: &mut Rates,
) -> Result<()> {
    let mut observation = bench.observe(round, pods, Watched::Both).await?;
    let ledger = Arc::clone(&observation.ledger);
    let hands = ByHand::start(bench, &ledger, template);
    let costs = Costs::start(bench)?;
    bench.create(&ledger, Pace::Burst).await?;
    observation.until("the pods are ready", |life| life.r#virtual.ready.is_some()).await?;
    rates.ceiling_cost.push(costs.per_pod(bench, round, pods)?);
    hands.done().await?;
    rates.ceiling.push(rate(round, &ledger, pods)?);
    bench.agree(pods).await?;
    bench.delete_by_hand(&ledger).await?;
    bench.empty().await
}

/// One round with the syncer; its whole life is what CPU is counted over.
pub(crate) async fn with_syncer(bench: &Bench, round: &str, pods: u32, rates: &mut Rates) -> Result<()> {
    bench.start_syncer().await?;
    let syncer = bench.syncer()?;
    let mut observation = bench.observe(round, pods, Watched::Virtual).await?;
    let ledger = Arc::clone(&observation.ledger);
    let (started, before, costs) = (Instant::now(), usage::cpu(syncer)?, Costs::start(bench)?);
    bench.create(&ledger, Pace::Burst).await?;
    observation.until("the pods are ready", |life| life.r#virtual.ready.is_some()).await?;
    rates.syncer_cost.push(costs.per_pod(bench, round, pods)?);
    rates.syncer.push(rate(round, &ledger, pods)?);
    bench.agree(pods).await?;
    bench.delete(&ledger, Pace::Burst).await?;
    observation.until("the pods are gone", |life| life.r#virtual.gone.is_some()).await?;
    bench.empty().await?;
    let (life, spent) = (started.elapsed(), usage::cpu(syncer)?.saturating_sub(before));
    let idle = idle(syncer, life).await?;
    say(&format!("{round}: syncer CPU {spent:?} in {life:.1?}, of which idle {idle:?}"));
    rates.cpu.push(per_pod_ms(spent.saturating_sub(idle), pods));
    bench.tenant.stop_syncer().await
}

/// What the syncer uses in a window of the same length in which nothing happens.
pub(crate) async fn idle(syncer: i32, window: Duration) -> Result<Duration> {
    tokio::time::sleep(QUIET).await;
    let before = usage::cpu(syncer)?;
    tokio::time::sleep(window).await;
    Ok(usage::cpu(syncer)?.saturating_sub(before))
}

fn rate(round: &str, ledger: &Ledger, pods: u32) -> Result<f64> {
    let took = ledger.first_sent_to_last_ready()?;
    let rate = f64::from(pods) / took.as_secs_f64();
    say(&format!("{round}: {pods} pods ready in {:.2} s, {rate:.1} pods/s", took.as_secs_f64()));
    Ok(rate)
}

/// Who used the processors until the pods were ready.
struct Costs {
    planes: Duration,
    client: Duration,
    syncer: Option<Duration>,
}

impl Costs {
    fn start(bench: &Bench) -> Result<Self> {
        let planes = bench.host_plane.pids().into_values();
        let planes = planes.chain(bench.tenant.virtual_plane().pids().into_values());
        let syncer = bench.syncer().ok().map(usage::cpu).transpose()?;
        let client = usage::cpu(i32::try_from(std::process::id())?)?;
        Ok(Self { planes: usage::cpu_of_all(planes)?, client, syncer })
    }

    /// Says who used how much for a pod, and gives the sum.
    fn per_pod(&self, bench: &Bench, round: &str, pods: u32) -> Result<f64> {
        let now = Self::start(bench)?;
        let planes = per_pod_ms(now.planes.saturating_sub(self.planes), pods);
        let client = per_pod_ms(now.client.saturating_sub(self.client), pods);
        let syncer = now.syncer.unwrap_or_default().saturating_sub(self.syncer.unwrap_or_default());
        let syncer = per_pod_ms(syncer, pods);
        say(&format!(
            "{round}: CPU to ready, ms a pod: planes {planes:.2}, client {client:.2}, syncer {syncer:.2}"
        ));
        Ok(planes + client + syncer)
    }
}
