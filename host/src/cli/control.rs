//! `weft init` and `weft launch`: what the pod of a virtual cluster runs beside the syncer.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::{host, output};
use crate::config::{Config, Log};
use crate::control::init::init;
use crate::control::launch::{Launch, Program};
use crate::telemetry;

/// Arguments of `weft init`.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Copy this program there as well, so that containers of other images can be started through it.
    #[arg(long, value_name = "FILE")]
    copy_to: Option<PathBuf>,
}

/// Arguments of `weft launch`.
#[derive(Debug, Args)]
pub(super) struct LaunchArguments {
    /// The program.
    #[arg(value_enum)]
    program: Program,
    /// The file that `weft init` has written.
    #[arg(long, value_name = "FILE", default_value = "/run/weft/launch.json")]
    file: PathBuf,
    /// Print the command line, and exit.
    #[arg(long)]
    print: bool,
    /// Address of the pod, which the API server advertises.
    #[arg(long, env = "POD_IP", value_name = "ADDRESS")]
    address: Option<String>,
}

impl Init {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.config)?;
        telemetry::start(&config.log)?;
        host::run(async { Ok(init(&config, self.copy_to.as_deref()).await?) })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl LaunchArguments {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let launch = Launch::read(&self.file)?;
        let address = self.address.as_deref();
        if self.print {
            output::print(&format!("{}\n", launch.command(self.program, address).join("\n")));
            return Ok(ExitCode::SUCCESS);
        }
        telemetry::start(&Log::default())?;
        match host::run(async { Ok(launch.become_program(self.program, address).await?) })? {}
    }
}
