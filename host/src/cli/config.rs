//! `weft config`: what the configuration file may hold, for editors and for people.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::output;
use crate::config::{Config, docs};

/// Show what the configuration file may hold.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Print all settings as a Markdown table.
    Docs,
}

impl Command {
    pub(super) fn run(&self) -> ExitCode {
        let text = match self {
            Self::Schema => format!("{:#}\n", Config::schema()),
            Self::Docs => docs::page(&Config::schema()),
        };
        output::print(&text);
        ExitCode::SUCCESS
    }
}
