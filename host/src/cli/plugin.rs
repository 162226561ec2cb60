//! `weft plugin`: write, check, try and measure plugins.

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
    /// Begin a plugin: a small project that builds and has a case.
    New(new::New),
    /// Build the plugin of a folder into `dist/<name>.wasm`.
    Build(build::Build),
    /// Say whether a component can be loaded, and what it has to be granted.
    Check(check::Check),
    /// Show what a component says of itself.
    Inspect(inspect::Inspect),
    /// Show the plugins of a configuration in the order in which they run.
    List(list::List),
    /// Try recorded cases, without a cluster.
    Test(test::Test),
    /// Show what becomes of one object.
    Run(run::Run),
    /// Write down what becomes of one object, as a case.
    Record(record::Record),
    /// Measure how long a call takes.
    Bench(bench::Bench),
    #[command(hide = true)]
    IdleMemory(bench::IdleMemory),
    /// Build whenever something is saved, and hand the component to a syncer.
    Dev(dev::Dev),
}

impl Command {
    pub(super) fn run(&self) -> Result<ExitCode> {
        log_of_plugins();
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

/// Shows what plugins write to the log, beside what the command prints.
fn log_of_plugins() {
    let filter = EnvFilter::new("off,weft::plugin::guest=trace");
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    // A second call, in a test, keeps the first one's settings.
    let _ = subscriber.without_time().with_ansi(colours).try_init();
}

/// Does something that asks plugins once more, and is not to write their lines a second time.
fn silently<T>(run: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), run)
}
