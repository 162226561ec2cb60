//! `cargo simulate`: plays simulated runs of the syncer, one per seed, and prints a report of those that fail.

mod build;
mod play;
mod report;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use weft_tests::arguments::arguments;

/// Plays simulated runs of the syncer between two model servers, on all processors.
#[derive(Debug, Parser)]
struct Arguments {
    /// Plays this seed alone and prints its report, whether it fails or not.
    #[arg(long)]
    seed: Option<u64>,
    /// Plays so many seeds.
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// Begins with this seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Goes on with further seeds for so long.
    #[arg(long)]
    minutes: Option<u64>,
}

fn main() -> ExitCode {
    let asked = Arguments::parse_from(arguments());
    let ended = if cfg!(tokio_unstable) { log().and_then(|()| play::play(&asked)) } else { build::run() };
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
