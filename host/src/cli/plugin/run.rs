//! `weft plugin run`: what a plugin makes of one object.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::author::cases::{Case, Outcome, Word};
use crate::author::workbench::{Examined, Workbench};
use crate::cli::input::Question;
use crate::cli::output::{bad, faint, good, print, strong};
use crate::cli::plugin::build;
use crate::cli::{diff, explain, project};

/// Arguments of `weft plugin run`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    /// The component, or the folder of the plugin, which is built where its source is newer.
    #[arg(value_name = "FILE", default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    question: Question,
    /// Also list every field that differs from the tenant's object, with the rule that changed it.
    #[arg(long)]
    explain: bool,
}

/// Fails if the plugin did not work or what it said was refused.
pub(super) fn run(arguments: &Run) -> Result<ExitCode> {
    let case = arguments.question.read(&arguments.path)?;
    let bench = project::workbench()?;
    let plugin = bench.examine(&build::component(&bench, &arguments.path)?)?;
    let word = show(&bench, &plugin, &case, arguments.explain)?;
    Ok(if matches!(word, Word::Fail | Word::Refused) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The sample at `file`, for the plugin in `folder`.
pub(super) fn sample(file: &Path, settings: Option<&Path>, folder: &Path) -> Result<Case> {
    Question::plain(file.to_owned(), settings.map(Path::to_owned)).read(folder)
}

/// Asks the plugin, and prints what comes of it.
pub(super) fn show(bench: &Workbench, plugin: &Examined, case: &Case, explains: bool) -> Result<Word> {
    let name = &plugin.loaded.descriptor.name;
    let loaded = case.load_plugin(bench, plugin)?;
    let trace = case.watch(&loaded, name)?;
    let fields = explains.then(|| explain::fields(&trace));
    let outcome = Outcome::of(trace, name);
    print(&changed(&outcome));
    print(&summary(&outcome));
    if let Some(fields) = fields {
        print(&format!("\n{fields}"));
    }
    Ok(outcome.verdict)
}

/// From the draft to the result, or to what the guard did not let pass.
fn changed(outcome: &Outcome) -> String {
    let (name, result) = match &outcome.object {
        Some(object) => ("result", Some(object)),
        None => ("refused", outcome.wanted.as_ref()),
    };
    let Some(result) = result else { return String::new() };
    let draft = crate::author::cases::plain(outcome.draft.clone());
    match diff::unified(("draft", name), &draft, result) {
        text if text.is_empty() => faint("the draft is left as it is\n"),
        text => text,
    }
}

fn summary(outcome: &Outcome) -> String {
    let verdict = match outcome.verdict {
        Word::Apply => good(outcome.verdict),
        Word::Skip | Word::Absent | Word::Wait => strong(outcome.verdict),
        Word::Reject | Word::Fail | Word::Refused => bad(outcome.verdict),
    };
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("verdict", verdict);
    if let Some(told) = &outcome.told {
        line(if outcome.verdict == Word::Refused { "guard" } else { "why" }, told.to_string());
    }
    for event in &outcome.events {
        let severity = if event.is_warning { "Warning" } else { "Normal" };
        line("event", format!("{severity} {}: {}", event.reason, event.message));
    }
    for condition in &outcome.conditions {
        let (kind, status, reason) = (&condition.kind, condition.status, &condition.reason);
        line("condition", format!("{kind}={status} {reason}: {}", condition.message));
    }
    match outcome.took {
        Some(took) => line("time", format!("{} µs", took.as_micros())),
        None => line("called", "no: the rules before it have decided already".to_owned()),
    }
    text
}
