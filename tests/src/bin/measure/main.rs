//! `cargo measure`: what the release build of the syncer costs, against what no syncer can avoid, and what stores bear.
//!
//! Everything runs on this machine: absolute numbers are the machine's, ratios of one run are the syncer's.

mod audit;
mod bench;
mod by_hand;
mod create;
mod latency;
mod ledger;
mod load;
mod noisy;
mod plugins;
mod pods;
mod report;
mod requests;
mod scale;
mod server;
mod settled;
mod spinners;
mod statistics;
mod storage;
mod streams;
mod throughput;
mod unused;
mod usage;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use weft_tests::arguments::arguments;
use weft_tests::binaries::{Programs, statics};

use crate::bench::{Bench, Binaries};
use crate::report::{Report, say};
use crate::spinners::Spinners;

/// Few enough for two minutes, many enough for a p99.
const LOOP_PODS: u32 = 200;
const COUNTED_PODS: u32 = 100;

/// Measures the syncer as it is shipped on control planes of its own.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is measured: the syncer, what plugins cost, what each store bears, a large cluster, or how one is created.
    #[arg(value_enum, default_value = "syncer")]
    what: What,
    /// Prints one JSON object on standard output; the table goes to standard error.
    #[arg(long)]
    json: bool,
    /// How many pods a burst has, and how many pairs are settled.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pods: u32,
    /// How often ceiling, syncer, syncer, ceiling are run.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only these measurements.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Measurement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Throughput, latency, memory, restart and requests.
    Syncer,
    /// Calls in each language, bursts with plugins, from saving to effect.
    Plugins,
    /// Writes a second, latency, errors and CPU of SQLite and etcd under 1 to 200 writers.
    Storage,
    /// Whether a pod costs more in a large cluster: 10,000 pairs, 3,000 namespaces, 2,000 Services.
    Scale,
    /// Time to create and to delete a virtual cluster on a real node, and what an idle one costs. Needs root.
    Create,
    /// Throughput and first byte of `kubectl exec` against the host's, memory of an open stream. Needs root.
    Streams,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Pods a second against the ceiling, and CPU.
    Throughput,
    /// Latency at 10 pods/s.
    Latency,
    /// Memory, empty and with settled pairs.
    Memory,
    /// Time to work again after a restart, and what it writes.
    Restart,
    /// Requests of a pod's life.
    Requests,
    /// Latency beside a namespace whose pods the host refuses, against the same without it.
    Noisy,
    /// Memory and time of a restart beside content that no pod uses, against the same without it.
    Unused,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse_from(arguments());
    let outcome = tokio::select! {
        outcome = measure(&arguments) => outcome,
        // Dropping the work ends every process it started.
        _ = tokio::signal::ctrl_c() => return ExitCode::FAILURE,
    };
    match outcome.and_then(|report| print(&arguments, &report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("measuring failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn wants(&self, any_of: &[Measurement]) -> bool {
        self.only.is_empty() || any_of.iter().any(|measurement| self.only.contains(measurement))
    }
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    use Measurement::{Latency, Memory, Noisy, Requests, Restart, Throughput, Unused};
    let mut report = Report::default();
    if matches!(arguments.what, What::Create | What::Streams) {
        report.note(format!("load of the machine before the start: {}", usage::load()));
        match arguments.what {
            What::Create => create::measure(&mut report).await?,
            _ => streams::measure(&mut report).await?,
        }
        return Ok(report);
    }
    let programs = Programs::build().await?;
    if arguments.what == What::Storage {
        report.note(format!("load of the machine before the start: {}", usage::load()));
        storage::measure(&programs, &mut report).await?;
        return Ok(report);
    }
    say("building the syncer as it is shipped");
    let binaries = Binaries { programs, weft: statics::weft().await? };
    report.note(format!("load of the machine before the start: {}", usage::load()));
    if arguments.what == What::Plugins {
        of_plugins(arguments, &binaries, &mut report).await?;
        return Ok(report);
    }
    if arguments.what == What::Scale {
        say("starting the planes");
        scale::measure(&Bench::start(&binaries, false).await?, &mut report).await?;
        return Ok(report);
    }
    if arguments.wants(&[Throughput, Latency, Memory, Restart, Noisy, Unused]) {
        timed(arguments, &binaries, &mut report).await?;
    }
    if arguments.wants(&[Requests, Restart]) {
        counted(arguments, &binaries, &mut report).await?;
    }
    Ok(report)
}

/// What plugins cost.
async fn of_plugins(arguments: &Arguments, binaries: &Binaries, report: &mut Report) -> Result<()> {
    plugins::calls(binaries, report).await?;
    say("starting the planes");
    let bench = Bench::start(binaries, false).await?;
    let spinners = Spinners::start(&binaries.programs.planes, bench.dir()).await;
    report.note(spinners.describe());
    plugins::syncing(&bench, arguments.pods, arguments.rounds, report).await
}

/// What is timed: nothing is logged beside it, and the processors are kept awake.
async fn timed(arguments: &Arguments, binaries: &Binaries, report: &mut Report) -> Result<()> {
    use Measurement::{Latency, Memory, Noisy, Restart, Throughput, Unused};
    say("starting the planes");
    let bench = Bench::start(binaries, false).await?;
    let spinners = Spinners::start(&binaries.programs.planes, bench.dir()).await;
    report.note(spinners.describe());
    // First, while the planes are as new: what bursts leave behind, events above all, is listed by a
    // syncer that starts.
    if arguments.wants(&[Latency, Memory, Restart]) {
        settled(&bench, arguments, report).await?;
    }
    if arguments.wants(&[Latency, Throughput]) {
        let template = bench.template().await?;
        if arguments.wants(&[Latency]) {
            latency::floor(&bench, &template, LOOP_PODS, report).await?;
        }
        if arguments.wants(&[Throughput]) {
            throughput::measure(&bench, &template, arguments.pods, arguments.rounds, report).await?;
        }
    }
    if arguments.wants(&[Noisy]) {
        bench.start_syncer().await?;
        noisy::measure(&bench, LOOP_PODS, report).await?;
        bench.tenant.stop_syncer().await?;
    }
    if arguments.wants(&[Unused]) {
        bench.start_syncer().await?;
        unused::measure(&bench, report).await?;
    }
    Ok(())
}

/// What is measured with pairs that stay.
async fn settled(bench: &Bench, arguments: &Arguments, report: &mut Report) -> Result<()> {
    bench.start_syncer().await?;
    settled::memory(bench, arguments.pods, report).await?;
    if arguments.wants(&[Measurement::Latency]) {
        latency::measure(bench, LOOP_PODS, arguments.pods, report).await?;
    }
    if arguments.wants(&[Measurement::Restart]) {
        settled::restart_time(bench, arguments.pods, report).await?;
    }
    settled::clear(bench, arguments.pods).await?;
    bench.tenant.stop_syncer().await
}

/// What is counted: both servers log every request, which would cost time.
async fn counted(arguments: &Arguments, binaries: &Binaries, report: &mut Report) -> Result<()> {
    say("starting planes that log requests");
    let bench = Bench::start(binaries, true).await?;
    bench.start_syncer().await?;
    if arguments.wants(&[Measurement::Requests]) {
        requests::measure(&bench, COUNTED_PODS, report).await?;
    }
    if arguments.wants(&[Measurement::Restart]) {
        let mark = audit::mark(&bench)?;
        settled::fill(&bench, arguments.pods).await?;
        let requests = audit::breakdown(&audit::since(&bench, mark)?);
        report.breakdown(
            "requests of a pod of a burst until it has settled",
            &requests,
            f64::from(arguments.pods),
        );
        settled::restart_writes(&bench, arguments.pods, report).await?;
    }
    Ok(())
}

fn print(arguments: &Arguments, report: &Report) -> Result<()> {
    if arguments.json {
        say(&report.text());
        writeln!(std::io::stdout(), "{}", report.json())?;
    } else {
        write!(std::io::stdout(), "{}", report.text())?;
    }
    Ok(())
}
