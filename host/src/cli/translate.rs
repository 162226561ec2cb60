//! `weft translate`: shows the host objects of virtual objects, and why they are as they are.

use std::collections::BTreeSet;
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
use crate::cli::{diff, explain, input, project, workloads};

/// Arguments of `weft translate`.
#[derive(Debug, Args)]
pub(super) struct Translate {
    /// Virtual objects: a file, a folder, or `-` for standard input; can be repeated. The objects can refer to each
    /// other. Of a `Deployment`, `StatefulSet`, `Job` or `CronJob`, what is shown is the pod that it would make.
    #[arg(short = 'f', long = "file", value_name = "OBJECTS", required = true)]
    files: Vec<PathBuf>,
    /// The configuration of a syncer, with its plugins; by default, the built-in rules and example names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Output format; `explain` on a terminal, `yaml` elsewhere.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The host objects.
    Yaml,
    /// Each field that changes, and the rule that changes it.
    Explain,
}

/// Prints the host objects; fails if one of the objects gets none, or a plugin that has a say in it is not loaded.
pub(super) fn translate(arguments: &Translate) -> Result<ExitCode> {
    let Rules { bench, mut around, waiting } = rules(arguments)?;
    let mut sources = Vec::new();
    for file in input::files(&arguments.files)? {
        let found = input::objects(&file)?.into_iter().map(VirtualObject::new);
        sources.extend(found.flat_map(|source| with_what_it_makes(&bench, source)));
    }
    for source in &sources {
        around.add(source.clone());
    }
    let default = if is_read_by_a_person() { Output::Explain } else { Output::Yaml };
    let output = arguments.output.unwrap_or(default);
    let (mut translated, mut held, mut is_guess) = (0, 0, false);
    for source in &sources {
        let kind = key_of(source).kind;
        if bench.mapper(&kind).is_err() {
            note(&if workloads::made_of(source).is_empty() {
                format!(
                    "{source:?} stays in the virtual cluster: {kind} is not mapped: neither built in, nor declared in \
                     `mappings`, nor added by a loaded plugin"
                )
            } else {
                format!("{source:?} stays in the virtual cluster; what its controller makes of it follows")
            });
            continue;
        }
        translated += 1;
        is_guess |= waiting.contains(kind.as_str());
        let trace = bench.trace_to_host(&around, source, None)?;
        held += usize::from(trace.result.is_err());
        show(source, trace, output);
    }
    if translated == 0 {
        bail!("none of these objects is of a kind that is mapped");
    }
    Ok(if held == 0 && !is_guess { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A virtual object, and what a controller of the virtual cluster makes of it, unless the syncer maps it as it is.
fn with_what_it_makes(bench: &Workbench, source: VirtualObject) -> Vec<VirtualObject> {
    let is_mapped = bench.mapper(&key_of(&source).kind).is_ok();
    let made = if is_mapped { Vec::new() } else { workloads::made_of(&source) };
    std::iter::once(source).chain(made).collect()
}

/// What objects are translated with.
struct Rules {
    bench: Workbench,
    around: Offline,
    /// Kinds whose plugin is not loaded: the syncer writes something else, or nothing.
    waiting: BTreeSet<String>,
}

fn rules(arguments: &Translate) -> Result<Rules> {
    let mut waiting = BTreeSet::new();
    let Some(config) = &arguments.config else {
        return Ok(Rules { bench: project::workbench()?, around: surroundings()?, waiting });
    };
    let configured = Configured::load(config)?;
    for (name, why) in &configured.refused {
        note(&format!("the plugin {name} is not loaded: {why}"));
        let entry = configured.config.plugins.load.get(name);
        // Without `kinds`, its kinds are not known, and no object waits for it.
        if let Some(entry) = entry.filter(|entry| !entry.kinds.is_empty()) {
            let policy = format!("{:?}", entry.on_failure).to_lowercase();
            note(&format!(
                "until it loads, `onFailure: {policy}` applies to {}; what follows is made without it",
                entry.kinds.join(", ")
            ));
            waiting.extend(entry.kinds.iter().cloned());
        }
    }
    let around = configured.surroundings()?;
    Ok(Rules { bench: configured.bench, around, waiting })
}

fn show(source: &VirtualObject, trace: Trace, output: Output) {
    match (output, &trace.result) {
        (Output::Yaml, Ok(object)) => print(&format!("---\n{}", diff::yaml(object))),
        (Output::Yaml, Err(held)) => {
            note(&format!("{source:?} gets no host object: {}", explain::hold(held)));
        }
        (Output::Explain, _) => print(&explained(source, trace)),
    }
}

/// The host object or why there is none, then every field that changes, then events and conditions.
fn explained(source: &VirtualObject, trace: Trace) -> String {
    let title = match &trace.result {
        Ok(object) => format!("{source:?} -> {}", host_name(object)),
        Err(held) => format!("{source:?}: {}", bad(explain::hold(held))),
    };
    format!("{}\n{}{}", strong(title), explain::fields(&trace), explain::notes(trace.notes))
}

fn host_name(object: &Fields) -> String {
    let object = weft_core::object::HostObject::new(object.clone());
    format!("{}/{}", object.namespace(), object.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn explained_of(object: &Value) -> String {
        let source = VirtualObject::new(object.as_object().unwrap().clone());
        let bench = Workbench::new(None, &[]).unwrap();
        let trace = bench.trace_to_host(&surroundings().unwrap(), &source, None).unwrap();
        anstream::adapter::strip_str(&explained(&source, trace)).to_string()
    }

    #[test]
    fn an_object_is_explained_by_its_host_name_and_its_changes() {
        let text = explained_of(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "shop"},
        }));
        let title = text.lines().next().unwrap();
        assert!(title.ends_with("-> team-a/web-x-shop-x-my-vcluster"), "{text}");
        let name = r#"metadata.name: "web" -> "web-x-shop-x-my-vcluster"  (by common part)"#;
        assert!(text.lines().any(|line| line == name), "{text}");
    }

    #[test]
    fn an_object_without_a_host_object_is_explained_by_the_verdict() {
        let text = explained_of(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "image": "nginx"}], "resourceClaims": [{"name": "gpu"}]},
        }));
        let title = text.lines().next().unwrap();
        assert!(title.contains(": refused: spec.resourceClaims"), "{text}");
    }
}
