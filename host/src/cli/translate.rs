//! `weft translate`: what becomes of objects on the host, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use weft_core::object::{Fields, VirtualObject};
use weft_core::offline::{Offline, key_of};

use crate::author::trace::Trace;
use crate::author::workbench::{Workbench, surroundings};
use crate::cli::configured::Configured;
use crate::cli::output::{bad, is_read_by_a_person, note, print, strong};
use crate::cli::{diff, explain, input, project};

/// Arguments of `weft translate`.
#[derive(Debug, Args)]
pub(super) struct Translate {
    /// Objects of the virtual cluster: a file, a folder of them, or `-` for the standard input; can be given more
    /// than once. Each object can refer to the others.
    #[arg(short = 'f', long = "file", value_name = "OBJECTS", required = true)]
    files: Vec<PathBuf>,
    /// The configuration of a syncer, with its plugins; without one, the built-in rules and made-up names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to print; `explain` on a terminal, `yaml` elsewhere.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The host objects.
    Yaml,
    /// Each field that changes, and the rule behind it.
    Explain,
}

/// Prints what becomes of the objects; fails if one of them gets no host object.
pub(super) fn translate(arguments: &Translate) -> Result<ExitCode> {
    let (bench, mut around) = rules(arguments)?;
    let mut sources = Vec::new();
    for file in input::files(&arguments.files)? {
        sources.extend(input::objects(&file)?.into_iter().map(VirtualObject::new));
    }
    for source in &sources {
        around.add(source.clone());
    }
    let default = if is_read_by_a_person() { Output::Explain } else { Output::Yaml };
    let output = arguments.output.unwrap_or(default);
    let (mut translated, mut held) = (0, 0);
    for source in &sources {
        let kind = key_of(source).kind;
        if bench.mapper(&kind).is_err() {
            note(&format!("{source:?} stays in the virtual cluster: {kind} is not mapped"));
            continue;
        }
        translated += 1;
        let trace = bench.trace_to_host(&around, source, None)?;
        held += usize::from(trace.result.is_err());
        show(source, trace, output);
    }
    if translated == 0 {
        bail!("none of these objects is of a kind that is mapped");
    }
    Ok(if held == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rules(arguments: &Translate) -> Result<(Workbench, Offline)> {
    let Some(config) = &arguments.config else { return Ok((project::workbench()?, surroundings()?)) };
    let configured = Configured::load(config)?;
    for (name, why) in &configured.refused {
        note(&format!("the plugin {name} is left out: {why}"));
        let entry = configured.config.plugins.load.get(name);
        // Without `kinds` nobody knows what it would have mapped, and no object waits for it.
        if let Some(entry) = entry.filter(|entry| !entry.kinds.is_empty()) {
            let policy = format!("{:?}", entry.on_failure).to_lowercase();
            note(&format!(
                "as long as it does not load, `onFailure: {policy}` holds for {}",
                entry.kinds.join(", ")
            ));
        }
    }
    let around = configured.surroundings()?;
    Ok((configured.bench, around))
}

fn show(source: &VirtualObject, trace: Trace, output: Output) {
    match (output, &trace.result) {
        (Output::Yaml, Ok(object)) => print(&format!("---\n{}", diff::yaml(object))),
        (Output::Yaml, Err(held)) => {
            note(&format!("{source:?} gets no host object: {}", explain::hold(held)));
        }
        (Output::Explain, result) => {
            let title = match result {
                Ok(object) => format!("{source:?} -> {}", host_name(object)),
                Err(held) => format!("{source:?}: {}", bad(explain::hold(held))),
            };
            print(&format!("{}\n{}", strong(title), explain::fields(&trace)));
            print(&explain::told(trace.notes));
        }
    }
}

fn host_name(object: &Fields) -> String {
    let object = weft_core::object::HostObject::new(object.clone());
    format!("{}/{}", object.namespace(), object.name())
}
