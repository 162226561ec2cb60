//! `weft plugin inspect`: shows the descriptor of a component.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cli::output::{Format, print, print_value};
use crate::cli::plugin::build;
use crate::cli::project;
use crate::cli::summary::ComponentSummary;

/// Arguments of `weft plugin inspect`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// The component, or the folder of the plugin, which is built if its source is newer.
    #[arg(value_name = "FILE", default_value = ".")]
    path: PathBuf,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

pub(super) fn inspect(arguments: &Inspect) -> Result<ExitCode> {
    let bench = project::workbench()?;
    let file = build::component(&bench, &arguments.path)?;
    let summary = ComponentSummary::new(&file, &bench.examine(&file)?);
    match arguments.output {
        Format::Text | Format::Wide => print(&summary.to_text()),
        format => print_value(&summary, format)?,
    }
    Ok(ExitCode::SUCCESS)
}
