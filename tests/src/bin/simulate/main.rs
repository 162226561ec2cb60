//! `cargo simulate`: plays simulated runs of the syncer, one a seed, and tells the story of those that fail.

mod build;
mod play;
mod story;

use std::process::ExitCode;

use clap::Parser;
use weft_tests::arguments::arguments;

/// Plays simulated runs of the syncer between two model servers, on all processors.
#[derive(Debug, Parser)]
struct Arguments {
    /// Plays this seed alone and tells its story, whether it fails or not.
    #[arg(long)]
    seed: Option<u64>,
    /// Plays so many seeds.
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// Begins with this seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Plays with this build, which is slow, and in which a seed is not quite the same run each time.
    #[arg(long)]
    here: bool,
    /// Goes on with further seeds for so long.
    #[arg(long)]
    minutes: Option<u64>,
}

fn main() -> ExitCode {
    let ended =
        if cfg!(tokio_unstable) { play::play(&Arguments::parse_from(arguments())) } else { build::run() };
    ended.unwrap_or_else(|error| {
        story::tell_error(&error);
        ExitCode::FAILURE
    })
}
