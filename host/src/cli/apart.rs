//! `weft apart`: what this program does for itself in a child process. People have no use for it.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::cli::output;
use crate::plugin::apart::Work;
use crate::plugin::work;

#[derive(Debug, Subcommand)]
pub(super) enum Apart {
    /// Compile the component on standard input.
    Compile {
        #[arg(long, value_name = "FOLDER")]
        cache: Option<PathBuf>,
        #[arg(long)]
        wasi: bool,
    },
    /// Hold settings against their schema; both are on standard input.
    Settings,
}

impl Apart {
    /// Bounds this process, reads, works, and prints the answer.
    pub(super) fn run(self) -> Result<ExitCode> {
        let work = match self {
            Self::Compile { cache, wasi } => Work::Compile { cache, wasi },
            Self::Settings => Work::Settings,
        };
        work.bound_this_process().context("failed to bound this process")?;
        let mut input = Vec::new();
        std::io::stdin().lock().read_to_end(&mut input).context("failed to read standard input")?;
        let answer = match &work {
            Work::Compile { cache, wasi } => {
                serde_json::to_string(&work::compile(&input, cache.as_deref(), *wasi))
            }
            Work::Settings => serde_json::to_string(&work::settings(&input)),
        };
        output::print(&answer?);
        Ok(ExitCode::SUCCESS)
    }
}
