//! `weft plugin`: create, check, test and measure plugins.

mod bench;
mod build;
mod check;
mod dev;
mod inspect;
mod list;
mod new;
mod record;
mod run;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use tracing_subscriber::EnvFilter;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a plugin: a small project that builds and has a case.
    New(new::New),
    /// Build the plugin of a folder into `dist/<name>.wasm`.
    Build(build::Build),
    /// Check whether a component can be loaded, and which grants it needs.
    Check(check::Check),
    /// Show the descriptor of a component.
    Inspect(inspect::Inspect),
    /// List the plugins of a configuration in the order in which they run.
    List(list::List),
    /// Run recorded cases, without a cluster.
    Test(test::Test),
    /// Run the plugin on one object, and show the result.
    Run(run::Run),
    /// Record the outcome for one object as a case.
    Record(record::Record),
    /// Measure duration of calls, and memory.
    Bench(bench::Bench),
    #[command(hide = true)]
    IdleMemory(bench::IdleMemory),
    /// Build at every save, and copy the component to a syncer's folder.
    Dev(dev::Dev),
}

impl Command {
    pub(super) fn run(&self) -> Result<ExitCode> {
        show_log_of_plugins();
        match self {
            Self::New(arguments) => new::new(arguments),
            Self::Build(arguments) => build::build(arguments),
            Self::Check(arguments) => check::check(arguments),
            Self::Inspect(arguments) => inspect::inspect(arguments),
            Self::List(arguments) => list::list(arguments),
            Self::Test(arguments) => test::test(arguments),
            Self::Run(arguments) => run::run(arguments),
            Self::Record(arguments) => record::record(arguments),
            Self::Bench(arguments) => bench::bench(arguments),
            Self::IdleMemory(arguments) => bench::idle_memory(arguments),
            Self::Dev(arguments) => dev::dev(arguments),
        }
    }
}

/// Shows the log lines of plugins on standard error.
fn show_log_of_plugins() {
    let filter = EnvFilter::new("off,weft::plugin::guest=trace");
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    // A second call, in a test, keeps the first one's settings.
    let _ = subscriber.without_time().with_ansi(colours).try_init();
}

/// Runs something that calls plugins again, without showing their log lines again.
fn silently<T>(run: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), run)
}
