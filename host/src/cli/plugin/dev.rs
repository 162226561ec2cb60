//! `weft plugin dev`: builds at every save, copies the component to a syncer's folder, and shows the result for a
//! sample.

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
    /// `plugins.folder` of a syncer, which loads each new component by itself.
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    /// A sample object; its result is shown after each build.
    #[arg(short = 'f', long = "file", value_name = "OBJECT")]
    sample: Option<PathBuf>,
    /// The plugin's settings; `settings.yaml` of the plugin's folder by default.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The log of the syncer; its lines about plugins are shown.
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
            followed = tail::follow(arguments.log.as_deref()) => followed.map(|()| ExitCode::SUCCESS),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("failed to listen for Ctrl-C")?;
                print(&faint("\nstopped; the last component stays loaded\n"));
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// Fails at once on errors that no change of the source can fix.
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
    std::fs::create_dir_all(into).with_context(|| format!("failed to create {}", into.display()))?;
    note(&format!("created {}; is it `plugins.folder` of a syncer?", into.display()));
    Ok(())
}

fn check_file(file: Option<&Path>, option: &str) -> Result<()> {
    let missing = file.filter(|file| !file.is_file());
    missing.map_or(Ok(()), |file| bail!("{option} {} is not a file; give one that exists", file.display()))
}

async fn keep_building(bench: &Workbench, arguments: &Dev) -> Result<()> {
    let mut sources = sources::Sources::new(&arguments.folder);
    loop {
        sources.remember();
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
        print(&faint("waiting for a change; press Ctrl-C to stop\n"));
        sources.changed().await;
    }
}

/// Copies the component and its settings to the syncer's folder, and runs the sample.
fn hand_over(bench: &Workbench, arguments: &Dev, built: &Built) -> Result<PathBuf> {
    let name = &built.plugin.loaded.descriptor.name;
    let target = arguments.into.join(format!("{name}.wasm"));
    let bytes = std::fs::read(&built.file)?;
    copy_settings(arguments, &settings_file(&target))?;
    project::write_whole(&target, &bytes)?;
    if let Some(sample) = &arguments.sample {
        let case = run::sample(sample, arguments.settings.as_deref(), &arguments.folder)?;
        run::show(bench, &built.plugin, &case, false)?;
    }
    Ok(target)
}

/// Copies the settings, if there are any, to where a syncer with `grants: requested` reads them.
fn copy_settings(arguments: &Dev, target: &Path) -> Result<()> {
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
    fn a_missing_folder_is_created() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        let into = folder.path().join("plugins");
        let folder = folder.path().to_owned();
        check(&Dev { folder, into: into.clone(), sample: None, settings: None, log: None }).unwrap();
        assert!(into.is_dir());
    }

    #[test]
    fn settings_are_copied_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (settings, target) = (folder.path().join("settings.yaml"), folder.path().join("a.settings.yaml"));
        let into = folder.path().join("plugins");
        let dev = Dev { folder: folder.path().to_owned(), into, sample: None, settings: None, log: None };
        std::fs::write(&settings, "team: web\n").unwrap();
        copy_settings(&dev, &target).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "team: web\n");
        std::fs::remove_file(&settings).unwrap();
        copy_settings(&dev, &target).unwrap();
        assert!(!target.exists());
    }
}
