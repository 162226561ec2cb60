//! `weft plugin dev`: builds whenever something is saved, hands the component to a syncer, and shows what has become
//! of a sample.

mod sources;
mod tail;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::output::{bad, faint, good, print};
use crate::cli::plugin::build::{self, Built};
use crate::cli::plugin::run;
use crate::cli::project;
use crate::plugin::workbench::Workbench;

/// Arguments of `weft plugin dev`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Dev {
    /// The folder of the plugin.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// `plugins.folder` of a syncer, which takes each new component in by itself.
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    /// An object to show the plugin's work with, each time.
    #[arg(short = 'f', long = "file", value_name = "OBJECT")]
    sample: Option<PathBuf>,
    /// The settings for it; `settings.yaml` of the plugin's folder by default.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The log of the syncer: what it says of plugins is shown.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Runs until Ctrl-C.
pub(super) fn dev(arguments: &Dev) -> Result<ExitCode> {
    let bench = project::workbench()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            ended = keep_building(&bench, arguments) => ended.map(|()| ExitCode::SUCCESS),
            told = tail::follow(arguments.log.as_deref()) => told.map(|()| ExitCode::SUCCESS),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("failed to listen for Ctrl-C")?;
                print(&faint("\nstopped; the last component stays where it is\n"));
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

async fn keep_building(bench: &Workbench, arguments: &Dev) -> Result<()> {
    let mut sources = sources::Sources::new(&arguments.folder);
    loop {
        sources.note();
        let start = Instant::now();
        match build::make(bench, &arguments.folder).await {
            Ok(built) => match hand_over(bench, arguments, &built) {
                Ok(target) => {
                    let (took, target) = (start.elapsed().as_millis(), target.display());
                    print(&format!("{} {target} {}\n", good("new"), faint(format!("({took} ms)"))));
                }
                Err(error) => print(&format!("{} {error:#}\n", bad("error"))),
            },
            Err(error) => print(&format!("{} {error:#}\n", bad("error"))),
        }
        print(&faint("waiting for a change; Ctrl-C ends\n"));
        sources.changed().await;
    }
}

/// Puts the component where the syncer looks, and tries the sample.
fn hand_over(bench: &Workbench, arguments: &Dev, built: &Built) -> Result<PathBuf> {
    let name = &built.plugin.loaded.descriptor.name;
    let target = arguments.into.join(format!("{name}.wasm"));
    let bytes = std::fs::read(&built.file)?;
    project::write_whole(&target, &bytes)?;
    if let Some(sample) = &arguments.sample {
        let case = run::sample(sample, settings(arguments).as_deref())?;
        run::show(bench, &built.plugin, &case, false)?;
    }
    Ok(target)
}

fn settings(arguments: &Dev) -> Option<PathBuf> {
    let default =
        || Some(arguments.folder.join("settings.yaml")).filter(|file: &PathBuf| Path::is_file(file));
    arguments.settings.clone().or_else(default)
}
