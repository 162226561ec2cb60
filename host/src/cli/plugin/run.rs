//! `weft plugin run`: shows what a plugin does with one object.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use weft_core::verdict::Word;

use crate::author::cases::{Case, Outcome, plain, with_reason};
use crate::author::workbench::{Examined, Workbench};
use crate::cli::input::Request;
use crate::cli::output::{bad, faint, good, print, strong};
use crate::cli::plugin::build;
use crate::cli::{diff, explain, project};

/// Arguments of `weft plugin run`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    /// The component, or the folder of the plugin, which is built if its source is newer.
    #[arg(value_name = "FILE", default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    request: Request,
    /// Also list every field that differs from the tenant's object, and the rule that changed it.
    #[arg(long)]
    explain: bool,
}

/// Fails if the plugin failed, or the guard refused its edit.
pub(super) fn run(arguments: &Run) -> Result<ExitCode> {
    let case = arguments.request.read(&arguments.path)?;
    let bench = project::workbench()?;
    let plugin = bench.examine(&build::component(&bench, &arguments.path)?)?;
    let word = show(&bench, &plugin, &case, arguments.explain)?;
    Ok(if matches!(word, Word::Fail | Word::Refused) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The sample at `file`, for the plugin in `folder`.
pub(super) fn sample(file: &Path, settings: Option<&Path>, folder: &Path) -> Result<Case> {
    Request::new(file.to_owned(), settings.map(Path::to_owned)).read(folder)
}

/// Runs the case, and prints the outcome.
pub(super) fn show(bench: &Workbench, plugin: &Examined, case: &Case, explains: bool) -> Result<Word> {
    let name = &plugin.loaded.descriptor.name;
    let loaded = case.load_plugin(bench, plugin)?;
    let trace = case.trace(&loaded, name)?;
    let fields = explains.then(|| explain::fields(&trace));
    let outcome = Outcome::of(trace, name);
    print(&changed(&outcome));
    print(&summary(&outcome));
    if let Some(fields) = fields {
        print(&format!("\n{fields}"));
    }
    Ok(outcome.verdict)
}

/// The difference between the draft and the result, or what the guard refused.
fn changed(outcome: &Outcome) -> String {
    let (name, result) = match &outcome.object {
        Some(object) => ("result", Some(object)),
        None => ("refused", outcome.wanted.as_ref()),
    };
    let Some(result) = result else { return String::new() };
    let draft = plain(outcome.draft.clone());
    match diff::unified(("draft", name), &draft, result) {
        text if text.is_empty() => faint("the draft is not changed\n"),
        text => text,
    }
}

/// Verdict, problem, events, conditions and duration, one line each.
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
    if let Some(problem) = &outcome.problem {
        line(if outcome.verdict == Word::Refused { "guard" } else { "why" }, with_reason(problem));
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
        None => line("called", "no: an earlier rule has decided".to_owned()),
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::{Value, json};
    use weft_core::context::{Condition, Event};
    use weft_core::object::Fields;
    use weft_core::verdict::{By, Problem};

    fn fields(value: &Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    fn outcome(verdict: Word) -> Outcome {
        Outcome {
            verdict,
            draft: fields(&json!({"a": 1, "metadata": {"annotations": {"weft.dev/x": "y"}}})),
            wanted: None,
            object: None,
            is_unchanged: false,
            problem: None,
            events: Vec::new(),
            conditions: Vec::new(),
            took: None,
        }
    }

    fn without_colours(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn the_difference_is_shown_without_wefts_annotations() {
        let mut found = outcome(Word::Apply);
        found.object = Some(fields(&json!({"a": 2, "metadata": {}})));
        let text = without_colours(&changed(&found));
        assert!(text.starts_with("--- draft\n+++ result\n") && text.contains("-a: 1\n+a: 2\n"), "{text}");
        assert!(!text.contains("weft.dev"), "{text}");
        found.object = Some(plain(found.draft.clone()));
        assert_eq!(without_colours(&changed(&found)), "the draft is not changed\n");
    }

    #[test]
    fn a_refused_edit_is_shown_and_no_edit_shows_nothing() {
        let mut found = outcome(Word::Refused);
        found.wanted = Some(fields(&json!({"a": 3})));
        assert!(without_colours(&changed(&found)).contains("+++ refused\n"));
        assert_eq!(changed(&outcome(Word::Skip)), "");
    }

    #[test]
    fn the_summary_has_a_line_for_each_part() {
        let mut found = outcome(Word::Refused);
        let problem = Problem::of(By::Plugin("labels".to_owned()), "PluginRefused", "it is not yours");
        found.problem = Some(Problem { field: Some("spec.x".to_owned()), ..problem });
        let by = By::Plugin("labels".to_owned());
        let (reason, message) = ("Old".to_owned(), "it is old".to_owned());
        found.events.push(Event { by, is_warning: true, reason, message });
        let (kind, reason, message) = ("labels/Ready".to_owned(), "Done".to_owned(), "it is done".to_owned());
        found.conditions.push(Condition { kind, status: "True", reason, message });
        found.took = Some(Duration::from_micros(37));
        let lines = [
            "verdict    refused",
            "guard      PluginRefused: spec.x: it is not yours (plugin labels)",
            "event      Warning Old: it is old",
            "condition  labels/Ready=True Done: it is done",
            "time       37 µs",
        ];
        assert_eq!(without_colours(&summary(&found)).lines().collect::<Vec<_>>(), lines);
        let skipped = without_colours(&summary(&outcome(Word::Skip)));
        assert_eq!(skipped, "verdict    skip\ncalled     no: an earlier rule has decided\n");
    }
}
