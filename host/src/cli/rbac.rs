//! `weft rbac`: the permissions that a configuration needs on the host.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::configured::Configured;
use crate::cli::output;
use crate::config::Config;
use crate::permissions;
use crate::registry::descriptor::Descriptor;

/// The configuration whose permissions are printed.
#[derive(Debug, Args)]
pub(super) struct Rbac {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How the objects are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// YAML documents, each rule with its reason.
    Yaml,
    /// One `List`.
    Json,
}

impl Rbac {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.config)?;
        let descriptors = descriptors(&self.config, &config)?;
        let permissions = permissions::of(&config, &descriptors.iter().collect::<Vec<_>>());
        output::print(&match self.output {
            Format::Yaml => permissions::yaml(&config, &permissions)?,
            Format::Json => format!("{:#}\n", permissions::json(&config, &permissions)),
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// What the plugins of the configuration say about themselves, as far as their files are on this machine.
fn descriptors(file: &Path, config: &Config) -> anyhow::Result<Vec<Descriptor>> {
    let Some(folder) = &config.plugins.folder else { return Ok(Vec::new()) };
    if !folder.is_dir() {
        let folder = folder.display();
        output::note(&format!("`plugins.folder` {folder} is not here; plurals of granted kinds are guessed"));
        return Ok(Vec::new());
    }
    let configured = Configured::load(file)?;
    for (name, why) in &configured.refused {
        output::note(&format!("the plugin {name} does not load, plurals of its kinds are guessed: {why}"));
    }
    Ok(configured.bench.plugins().map(|plugin| plugin.loaded.descriptor.clone()).collect())
}
