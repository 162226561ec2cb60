//! `weft plugin record`: records the outcome for one object as a case.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::author::cases::Expect;
use crate::cli::input::Request;
use crate::cli::output::print;
use crate::cli::plugin::build;
use crate::cli::project;

/// Arguments of `weft plugin record`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Record {
    /// The component, or the folder of the plugin, which is built if its source is newer.
    #[arg(value_name = "FILE", default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    request: Request,
    /// The case to write, such as `cases/labelled.yaml`.
    #[arg(short, long, value_name = "CASE")]
    output: PathBuf,
}

pub(super) fn record(arguments: &Record) -> Result<ExitCode> {
    let output = &arguments.output;
    if output.exists() {
        bail!(
            "{} already exists; remove it or choose another name (`weft plugin test --bless` updates the expectation of a case that fails)",
            output.display()
        );
    }
    let mut case = arguments.request.read(&arguments.path)?;
    let bench = project::workbench()?;
    let plugin = bench.examine(&build::component(&bench, &arguments.path)?)?;
    let outcome = case.run(&bench, &plugin)?;
    case.expect = Expect::of(&outcome);
    project::write_whole(output, serde_saphyr::to_string(&case)?.as_bytes())?;
    print(&format!("{}: {}\n", output.display(), outcome.verdict));
    Ok(ExitCode::SUCCESS)
}
