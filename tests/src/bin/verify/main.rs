//! `cargo verify`: everything that must hold before a change is handed in, part by part.

mod failures;
mod parts;
mod screen;

use std::process::{ExitCode, ExitStatus};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;
use tokio::task::JoinHandle;
use weft_tests::arguments::arguments;
use weft_tests::binaries::Programs;
use weft_tests::binaries::modules::{self, Program};
use weft_tests::{cargo, node};

use crate::failures::Failures;
use crate::parts::{AGAIN, FEW, Kind, Outcome, PARTS, Part, go_is_usable};

/// Checks and tests everything; what this machine cannot run is skipped with a reason.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these parts, in their usual order: fmt, clippy, core, test, fuzz, plugins,
    /// plugins-clippy, plugins-fmt, planes, faults, simulate, nodes, demo, doc, deny.
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
    // The Go builds are the longest part of a first run; they run beside the Rust ones.
    let mut builds = Builds::start(&chosen);
    let mut outcomes = Vec::new();
    for part in chosen {
        let outcome = run(part, &mut builds).await;
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

async fn run(part: &'static Part, builds: &mut Builds) -> Outcome {
    screen::heading(part);
    let started = Instant::now();
    let mut failures = Failures::default();
    let result = match part.obstacle().await {
        Some(reason) => Kind::Skipped(reason),
        None => match attempt(part, builds, &mut failures).await {
            Ok(kind) => kind,
            Err(error) => Kind::Failed(format!("{error:#}")),
        },
    };
    Outcome { part, took: started.elapsed(), result, failures }
}

async fn attempt(part: &Part, builds: &mut Builds, failures: &mut Failures) -> Result<Kind> {
    builds.done(part).await?;
    let status = run_cargo(part, part.arguments, failures).await?;
    if status.success() {
        return Ok(Kind::Passed);
    }
    let is_few = failures.is_all() && (1..=FEW).contains(&failures.failed().len());
    if part.tries_again && is_few && again(part, failures).await? {
        return Ok(Kind::PassedAgain);
    }
    bail!("cargo {} ended with {status}", part.arguments.join(" "))
}

/// Whether these tests pass when they run once more, one after the other.
async fn again(part: &Part, failures: &mut Failures) -> Result<bool> {
    let tests = failures.failed();
    screen::second_try(tests);
    let names = tests.iter().map(String::as_str);
    let arguments: Vec<&str> = AGAIN.iter().copied().chain(names).collect();
    let mut second = Failures::default();
    let is_success = run_cargo(part, &arguments, &mut second).await?.success() && second.has_passed(tests);
    failures.add(second);
    Ok(is_success)
}

async fn run_cargo(part: &Part, arguments: &[&str], failures: &mut Failures) -> Result<ExitStatus> {
    let mut command = cargo::command();
    command.args(arguments).envs(part.environment.iter().copied()).kill_on_drop(true);
    // An error names what failed and why; where RUST_BACKTRACE is set, its backtrace would bury that.
    command.env("RUST_LIB_BACKTRACE", "0");
    let status = failures::run(&mut command, failures).await?;
    if part.needs_node {
        node::sweep()?;
    }
    Ok(status)
}

/// The builds of Go programs, running beside the other parts.
struct Builds {
    planes: Option<Build>,
    tools: Option<Build>,
}

type Build = JoinHandle<Result<()>>;

impl Builds {
    fn start(parts: &[&Part]) -> Self {
        let needed = |needs: fn(&Part) -> bool| go_is_usable() && parts.iter().any(|part| needs(part));
        let planes = async { Programs::build_in_background().await.map(drop) };
        Self {
            planes: needed(|part| part.needs_planes).then(|| tokio::spawn(planes)),
            tools: needed(|part| part.needs_node).then(|| tokio::spawn(tools())),
        }
    }

    /// Waits for those that a part needs; a later part finds them in the cache.
    async fn done(&mut self, part: &Part) -> Result<()> {
        if part.needs_planes {
            wait(&mut self.planes).await?;
        }
        if part.needs_node {
            wait(&mut self.tools).await?;
        }
        Ok(())
    }
}

/// After the planes, so that two linkers do not share the memory.
async fn tools() -> Result<()> {
    Programs::build_in_background().await?;
    for tool in Program::ALL {
        modules::program(tool).await?;
    }
    Ok(())
}

async fn wait(build: &mut Option<Build>) -> Result<()> {
    match build.take() {
        Some(build) => build.await?,
        None => Ok(()),
    }
}
