//! The command line.

mod age;
mod apart;
mod changes;
mod check;
mod completion;
mod config;
mod configured;
mod connect;
mod control;
mod create;
mod delete;
mod diff;
mod disconnect;
mod duration;
mod explain;
mod forward;
mod host;
mod hosts;
mod input;
mod list;
mod output;
mod plugin;
mod project;
mod rbac;
mod smoke;
mod sources;
mod status;
mod steps;
mod summary;
mod translate;
mod workloads;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use weft_core::causes::chain;

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
    /// Create a virtual cluster in the host cluster, and wait until it is ready.
    Create(create::Create),
    /// Make a virtual cluster the current context, or run a command with it.
    Connect(connect::Connect),
    /// Go back to the context from before.
    Disconnect(disconnect::Disconnect),
    /// List the virtual clusters of the host cluster.
    List(list::List),
    /// Show the state of a virtual cluster, and what it waits for.
    Status(status::Show),
    /// Check a virtual cluster on both sides, and say what to do about what is wrong.
    Check(check::Check),
    /// Delete a virtual cluster, and wait until nothing of it is left.
    Delete(delete::Delete),
    /// Print a script that completes commands and flags in a shell.
    Completion(completion::Completion),
    #[command(hide = true, subcommand)]
    Apart(apart::Apart),
    #[command(hide = true)]
    Forward(forward::Forward),
    #[command(hide = true)]
    Hosts(hosts::Hosts),
    /// Sync objects between the virtual cluster and its host.
    Syncer(Syncer),
    /// Prepare the control plane of a virtual cluster: its keys, its address ranges, its launch files.
    Init(control::Init),
    /// Run one pod in a virtual cluster and wait until it has ended.
    Smoke(smoke::Smoke),
    /// Become a program of the control plane, with the flags that `weft init` has prepared.
    Launch(control::LaunchArguments),
    /// Show what the configuration file may hold.
    #[command(subcommand)]
    Config(config::Command),
    /// Print the permissions that a configuration needs on the host, for `kubectl apply -f -`.
    Rbac(rbac::Rbac),
    /// Create, check, test and measure plugins.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Show the host objects of virtual objects, and the rule behind each field, without a cluster.
    ///
    /// A host name consists of the object's name, its namespace and the cluster's name. If that would be too long or
    /// ambiguous, it is a readable prefix and a hash.
    Translate(translate::Translate),
}

#[derive(Debug, Args)]
struct Syncer {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the configuration with all defaults, and exit.
    #[arg(long)]
    print_config: bool,
}

/// Runs the command of the command line.
pub fn main() -> ExitCode {
    let matches = program(std::env::args_os().next()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match cli.command {
        Command::Create(arguments) => create::create(&arguments),
        Command::Connect(arguments) => connect::connect(&arguments),
        Command::Disconnect(arguments) => disconnect::disconnect(&arguments),
        Command::List(arguments) => list::list(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Completion(arguments) => Ok(completion::completion(&arguments, Cli::command())),
        Command::Check(arguments) => Ok(check::check(&arguments)),
        Command::Delete(arguments) => delete::delete(&arguments),
        Command::Apart(command) => command.run(),
        Command::Forward(arguments) => forward::forward(&arguments),
        Command::Hosts(arguments) => arguments.run(),
        Command::Syncer(arguments) => syncer(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Init(arguments) => arguments.run(),
        Command::Launch(arguments) => arguments.run(),
        Command::Smoke(arguments) => arguments.run(),
        Command::Config(command) => Ok(command.run()),
        Command::Rbac(arguments) => arguments.run(),
        Command::Plugin(command) => command.run(),
        Command::Translate(arguments) => translate::translate(&arguments),
    };
    done.unwrap_or_else(|error| {
        output::note(&chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// The program under the name that people use: kubectl runs `kubectl-weft` as `kubectl weft`.
fn program(called: Option<OsString>) -> clap::Command {
    let called = called.map(PathBuf::from);
    let is_plugin = called.as_deref().and_then(Path::file_name).is_some_and(|name| name == "kubectl-weft");
    Cli::command().bin_name(if is_plugin { "kubectl weft" } else { "weft" })
}

fn syncer(arguments: &Syncer) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    if arguments.print_config {
        output::print(&config.to_yaml());
        return Ok(());
    }
    let log = telemetry::start(&config.log)?;
    // The work is waiting for two servers; what is done between takes a fraction of one processor, and one
    // thread saves waking another for each answer.
    host::run(run::run(&arguments.config, config, log))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_and_their_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn as_a_plugin_of_kubectl_the_usage_says_so() {
        let usage = |called: &str| program(Some(called.into())).render_usage().to_string();
        assert!(usage("/usr/bin/kubectl-weft").contains("kubectl weft <COMMAND>"));
        assert!(usage("./weft").contains("Usage: weft <COMMAND>"));
    }
}
