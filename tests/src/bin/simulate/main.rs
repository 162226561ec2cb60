//! `cargo simulate`: plays simulated runs of the syncer, one per seed, and prints a report of those that fail.

mod build;
mod mutants;
mod play;
mod report;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use weft_tests::arguments::arguments;

/// The syncer's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays simulated runs of the syncer between two model servers, on all processors.
#[derive(Debug, Parser)]
struct Arguments {
    /// Plays this seed alone and prints its report, whether it fails or not.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints what the syncer reads, too.
    #[arg(long, requires = "seed")]
    reads: bool,
    /// Plays so many seeds.
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// Begins with this seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Goes on with further seeds for so long.
    #[arg(long)]
    minutes: Option<u64>,
    /// Ends after so many minutes, whatever is left.
    #[arg(long)]
    at_most: Option<u64>,
    /// Ends with the first failure, without its report.
    #[arg(long)]
    brief: bool,
    /// Instead: plays every run of one short life with at most so many faults.
    #[arg(long, value_name = "FAULTS", num_args = 0..=1, default_missing_value = "2")]
    exhaustive: Option<usize>,
    /// Instead: puts faults into a copy of the engine, one by one, and says what notices them. All, or those whose names contain
    /// this.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", exclusive = true)]
    mutants: Option<String>,
}

fn main() -> ExitCode {
    let asked = Arguments::parse_from(arguments());
    let ended = match &asked.mutants {
        Some(wanted) => mutants::run(wanted),
        None if cfg!(tokio_unstable) => log().and_then(|()| play::play(&asked)),
        None => build::run(),
    };
    ended.unwrap_or_else(|error| {
        report::print_error(&error);
        ExitCode::FAILURE
    })
}

/// Shows what the syncer logs as far as `RUST_LOG` says so: of lost requests it says more than a screen has room for.
fn log() -> anyhow::Result<()> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into()).from_env()?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}
