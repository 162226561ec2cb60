//! `weft plugin test`: runs recorded cases, each twice, and shows where outcomes differ from expectations.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::author::cases::{Case, Difference, Outcome, blessed, compare, replace_expect};
use crate::author::workbench::{Examined, Workbench};
use crate::cli::output::{bad, faint, good, print};
use crate::cli::plugin::{build, silently};
use crate::cli::{diff, project};

/// Arguments of `weft plugin test`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    /// The folder of the plugin, with `cases/*.yaml`, or its component beside them.
    #[arg(value_name = "FOLDER", default_value = ".")]
    path: PathBuf,
    /// The component; by default the one in `dist`, which is built if the source is newer.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Update the expectations of the cases that fail; review the difference before you keep it.
    #[arg(long)]
    bless: bool,
}

/// The result of one case.
enum Status {
    Passed,
    Blessed,
    /// With the differences, as they are shown.
    Failed(String),
}

/// Fails if one of the cases does.
pub(super) fn test(arguments: &Test) -> Result<ExitCode> {
    let bench = project::workbench()?;
    let file = build::component(&bench, arguments.component.as_ref().unwrap_or(&arguments.path))?;
    let files = project::cases(&arguments.path)?;
    let plugin = bench.examine(&file)?;
    let (mut passed, mut failed) = (0, 0);
    for file in &files {
        let name = file.file_stem().unwrap_or_default().display();
        let status = run_case(&bench, &plugin, file, arguments.bless);
        // A case that cannot be run has failed; the others still run.
        let status = status.unwrap_or_else(|error| Status::Failed(indented(&format!("{error:#}\n"))));
        let count = if matches!(status, Status::Failed(_)) { &mut failed } else { &mut passed };
        *count += 1;
        print(&line(&name.to_string(), &status));
    }
    print(&format!("\n{passed} passed, {failed} failed\n"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is printed of one case.
fn line(name: &str, status: &Status) -> String {
    match status {
        Status::Passed => format!("{} {name}\n", good("ok     ")),
        Status::Blessed => format!("{} {name}\n", faint("blessed")),
        Status::Failed(why) => format!("{} {name}\n{why}", bad("FAILED ")),
    }
}

fn run_case(bench: &Workbench, plugin: &Examined, file: &Path, is_blessed: bool) -> Result<Status> {
    let case = Case::load(file)?;
    let outcome = case.run(bench, plugin)?;
    let again = silently(|| case.run(bench, plugin))?;
    if again != outcome {
        return Ok(Status::Failed(impure(&outcome, &again)));
    }
    let differences = compare(&case.expect, &outcome);
    if differences.is_empty() {
        return Ok(Status::Passed);
    }
    if is_blessed {
        let text = std::fs::read_to_string(file)?;
        let text = replace_expect(&text, &blessed(&case.expect, &outcome));
        project::write_whole(file, text.as_bytes()).context("failed to bless the case")?;
        return Ok(Status::Blessed);
    }
    Ok(Status::Failed(differences.iter().map(show).collect()))
}

/// Two runs of a case had different outcomes.
fn impure(first: &Outcome, second: &Outcome) -> String {
    let mut text =
        "two runs have different outcomes: a rule must be a function of its request and lookups\n".to_owned();
    let _ = writeln!(text, "first: {}, then: {}", first.verdict, second.verdict);
    let objects = first.object.as_ref().zip(second.object.as_ref());
    text.extend(objects.map(|(first, second)| diff::unified(("first", "second"), first, second)));
    indented(&text)
}

fn show(difference: &Difference) -> String {
    indented(&match difference {
        Difference::Value { key, expected, found } => {
            format!("{key}: expected {}, found {}\n", good(expected), bad(found))
        }
        Difference::Object { expected, found } => diff::unified(("expected", "found"), expected, found),
    })
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |text, line| text + "    " + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use weft_core::object::Fields;
    use weft_core::verdict::Word;

    fn fields(value: &Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    fn without_colours(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_line_says_whether_the_case_passed_and_shows_why_not() {
        assert_eq!(without_colours(&line("a", &Status::Passed)), "ok      a\n");
        assert_eq!(without_colours(&line("a", &Status::Blessed)), "blessed a\n");
        let failed = Status::Failed(indented("x\ny\n"));
        assert_eq!(without_colours(&line("a", &failed)), "FAILED  a\n    x\n    y\n");
    }

    #[test]
    fn a_difference_shows_what_was_expected_and_what_was_found() {
        let (expected, found) = ("apply".to_owned(), "skip".to_owned());
        let shown = show(&Difference::Value { key: "verdict", expected, found });
        assert_eq!(without_colours(&shown), "    verdict: expected apply, found skip\n");
        let (expected, found) = (fields(&json!({"a": 1})), fields(&json!({"a": 2})));
        let shown = without_colours(&show(&Difference::Object { expected, found }));
        assert!(shown.starts_with("    --- expected\n    +++ found\n"), "{shown}");
        assert!(shown.contains("    -a: 1\n    +a: 2\n"), "{shown}");
    }

    #[test]
    fn two_outcomes_of_one_case_are_shown_with_what_differs() {
        let outcome = |verdict: Word, a: u8| Outcome {
            verdict,
            draft: Fields::new(),
            wanted: None,
            object: Some(fields(&json!({"a": a}))),
            is_unchanged: false,
            problem: None,
            events: Vec::new(),
            conditions: Vec::new(),
            took: None,
        };
        let shown = without_colours(&impure(&outcome(Word::Apply, 1), &outcome(Word::Apply, 2)));
        assert!(shown.contains("first: apply, then: apply\n"), "{shown}");
        assert!(shown.contains("--- first\n") && shown.contains("-a: 1\n    +a: 2\n"), "{shown}");
    }
}
