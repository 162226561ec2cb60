//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::{run, telemetry};

/// Virtual Kubernetes clusters: workloads run as ordinary pods in one namespace of a host cluster.
#[derive(Debug, Parser)]
#[command(name = "weft", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep pairs of objects in step between the virtual cluster and its host.
    Syncer(Syncer),
}

#[derive(Debug, Args)]
struct Syncer {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the configuration with every default, and stop.
    #[arg(long)]
    print_config: bool,
}

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Syncer(arguments) => match syncer(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
    }
}

fn syncer(arguments: &Syncer) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    if arguments.print_config {
        print(&config.to_yaml());
        return Ok(());
    }
    telemetry::start(&config.log)?;
    // The work is waiting for two servers; what is done between takes a fraction of one processor, and one
    // thread saves waking another for each answer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run::run(config))
}

#[expect(clippy::print_stdout, reason = "what a command was asked to print")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "errors of commands go to people")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("weft: {error:#}");
    ExitCode::FAILURE
}
