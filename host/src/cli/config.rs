//! `weft config`: what the configuration file may hold, for editors and for people.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::output;
use crate::config::{Config, Values, docs};

/// Show what the configuration file may hold.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the JSON Schema of the configuration file, for editors.
    Schema(Of),
    /// Print all settings as a Markdown table.
    Docs(Of),
}

#[derive(Debug, Args)]
pub(super) struct Of {
    /// Of the values of the Helm chart instead.
    #[arg(long)]
    values: bool,
}

impl Command {
    pub(super) fn run(&self) -> ExitCode {
        let text = match self {
            Self::Schema(Of { values: false }) => format!("{:#}\n", Config::schema()),
            Self::Schema(Of { values: true }) => format!("{:#}\n", Values::schema()),
            Self::Docs(Of { values: false }) => docs::settings(&Config::schema()),
            Self::Docs(Of { values: true }) => docs::chart_values(&Values::schema()),
        };
        output::print(&text);
        ExitCode::SUCCESS
    }
}
