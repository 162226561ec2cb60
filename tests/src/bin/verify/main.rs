//! `cargo verify`: everything that must hold before a change is handed in, part by part.

mod parts;
mod screen;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use tokio::task::JoinHandle;
use weft_tests::arguments::arguments;
use weft_tests::binaries::Programs;
use weft_tests::cargo;

use crate::parts::{Outcome, PARTS, Part};

/// Checks and tests everything; what this machine cannot run is skipped with a reason.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these parts, in their usual order: fmt, clippy, core, test, plugins,
    /// plugins-clippy, plugins-fmt, planes, demo, doc, deny.
    #[arg(value_name = "PART", value_parser = parts::by_name)]
    parts: Vec<&'static Part>,
    /// Stops at the first part that fails.
    #[arg(long)]
    fail_fast: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse_from(arguments());
    tokio::select! {
        outcomes = verify(&arguments) => screen::closing(&outcomes),
        // Dropping the work ends the builds it started.
        _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
    }
}

async fn verify(arguments: &Arguments) -> Vec<Outcome> {
    let chosen: Vec<&Part> = PARTS.iter().filter(|part| chosen(arguments, part)).collect();
    // The Go build is the longest part of a first run; it runs beside the Rust ones.
    let mut planes = Planes::start(chosen.iter().any(|part| part.needs_planes));
    let mut outcomes = Vec::new();
    for part in chosen {
        let outcome = run(part, &mut planes).await;
        let failed = outcome.failed();
        outcomes.push(outcome);
        if failed && arguments.fail_fast {
            break;
        }
    }
    outcomes
}

fn chosen(arguments: &Arguments, part: &Part) -> bool {
    arguments.parts.is_empty() || arguments.parts.iter().any(|wanted| wanted.name == part.name)
}

async fn run(part: &'static Part, planes: &mut Planes) -> Outcome {
    screen::heading(part);
    let started = Instant::now();
    let result = match part.obstacle().await {
        Some(reason) => Ok(Some(reason)),
        None => attempt(part, planes).await.map(|()| None),
    };
    Outcome::new(part, started.elapsed(), result)
}

async fn attempt(part: &Part, planes: &mut Planes) -> Result<()> {
    if part.needs_planes {
        planes.built().await?;
    }
    let mut command = cargo::command();
    command.args(part.arguments).envs(part.environment.iter().copied()).kill_on_drop(true);
    let status = command.status().await?;
    anyhow::ensure!(status.success(), "cargo {} ended with {status}", part.arguments.join(" "));
    Ok(())
}

/// The build of the control planes, running beside the other parts.
struct Planes(Option<JoinHandle<Result<()>>>);

impl Planes {
    fn start(needed: bool) -> Self {
        let build = async { Programs::build_in_background().await.map(drop) };
        Self((needed && parts::go_is_usable()).then(|| tokio::spawn(build)))
    }

    /// Waits for it; a part that comes later finds the binary in the cache.
    async fn built(&mut self) -> Result<()> {
        match self.0.take() {
            Some(build) => build.await?,
            None => Ok(()),
        }
    }
}
