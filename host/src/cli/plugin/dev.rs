//! `weft plugin dev`: builds whenever something is saved, hands the component to a syncer, and shows what has become
//! of a sample.

mod sources;
mod tail;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::author::workbench::Workbench;
use crate::cli::output::{bad, faint, good, note, print};
use crate::cli::plugin::build::{self, Built};
use crate::cli::plugin::run;
use crate::cli::project;
use crate::plugin::files::settings_file;

/// Arguments of `weft plugin dev`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Dev {
    /// The folder of the plugin.
    #[arg(value_name = "FOLDER", default_value = ".")]
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
    check(arguments)?;
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

/// What no change of the source can mend is told at once.
fn check(arguments: &Dev) -> Result<()> {
    build::check_project(&arguments.folder)?;
    check_file(arguments.settings.as_deref(), "--settings")?;
    let sample = arguments.sample.as_deref();
    check_file(sample.filter(|file| *file != Path::new("-")), "--file")?;
    let into = &arguments.into;
    if into.is_dir() {
        return Ok(());
    }
    ensure!(!into.exists(), "--into {} is a file; give `plugins.folder` of a syncer", into.display());
    std::fs::create_dir_all(into).with_context(|| format!("failed to make {}", into.display()))?;
    note(&format!(
        "{} was not there and is made; does a syncer have it as `plugins.folder`?",
        into.display()
    ));
    Ok(())
}

fn check_file(file: Option<&Path>, option: &str) -> Result<()> {
    let missing = file.filter(|file| !file.is_file());
    missing.map_or(Ok(()), |file| bail!("{option} {} is no file; give one that is there", file.display()))
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

/// Puts the component and its settings where the syncer looks, and tries the sample.
fn hand_over(bench: &Workbench, arguments: &Dev, built: &Built) -> Result<PathBuf> {
    let name = &built.plugin.loaded.descriptor.name;
    let target = arguments.into.join(format!("{name}.wasm"));
    let bytes = std::fs::read(&built.file)?;
    hand_over_settings(arguments, &settings_file(&target))?;
    project::write_whole(&target, &bytes)?;
    if let Some(sample) = &arguments.sample {
        let case = run::sample(sample, arguments.settings.as_deref(), &arguments.folder)?;
        run::show(bench, &built.plugin, &case, false)?;
    }
    Ok(target)
}

/// Puts the settings, if there are any, where a syncer that grants what is asked takes them from.
fn hand_over_settings(arguments: &Dev, target: &Path) -> Result<()> {
    let settings = arguments.settings.clone().or_else(|| project::settings(&arguments.folder));
    match settings {
        Some(file) => {
            let text = std::fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
            project::write_whole(target, &text)
        }
        None if target.exists() => {
            std::fs::remove_file(target).with_context(|| format!("failed to remove {}", target.display()))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_to_hand_over_into_is_made() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        let into = folder.path().join("plugins");
        let folder = folder.path().to_owned();
        check(&Dev { folder, into: into.clone(), sample: None, settings: None, log: None }).unwrap();
        assert!(into.is_dir());
    }

    #[test]
    fn settings_are_handed_over_and_taken_away_again() {
        let folder = tempfile::tempdir().unwrap();
        let (settings, target) = (folder.path().join("settings.yaml"), folder.path().join("a.settings.yaml"));
        let into = folder.path().join("plugins");
        let dev = Dev { folder: folder.path().to_owned(), into, sample: None, settings: None, log: None };
        std::fs::write(&settings, "team: web\n").unwrap();
        hand_over_settings(&dev, &target).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "team: web\n");
        std::fs::remove_file(&settings).unwrap();
        hand_over_settings(&dev, &target).unwrap();
        assert!(!target.exists());
    }
}
