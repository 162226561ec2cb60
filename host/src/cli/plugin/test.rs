//! `weft plugin test`: tries recorded cases, each twice, and shows where what comes is not what was expected.

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
    /// The component; the one in `dist` by default, which is built where the source is newer.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Write what comes now into the cases that fail; look at the difference before you keep it.
    #[arg(long)]
    bless: bool,
}

/// What has become of one case.
enum Verdict {
    Passed,
    Blessed,
    /// With the reasons, as they are shown.
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
        let verdict = try_case(&bench, &plugin, file, arguments.bless);
        // A case that cannot be tried is one that fails; the others are tried all the same.
        match verdict.unwrap_or_else(|error| Verdict::Failed(indented(&format!("{error:#}\n")))) {
            Verdict::Passed => {
                passed += 1;
                print(&format!("{} {name}\n", good("ok     ")));
            }
            Verdict::Blessed => {
                passed += 1;
                print(&format!("{} {name}\n", faint("blessed")));
            }
            Verdict::Failed(why) => {
                failed += 1;
                print(&format!("{} {name}\n{why}", bad("FAILED ")));
            }
        }
    }
    print(&format!("\n{passed} passed, {failed} failed\n"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn try_case(bench: &Workbench, plugin: &Examined, file: &Path, is_blessed: bool) -> Result<Verdict> {
    let case = Case::load(file)?;
    let outcome = case.run(bench, plugin)?;
    let again = silently(|| case.run(bench, plugin))?;
    if again != outcome {
        return Ok(Verdict::Failed(impure(&outcome, &again)));
    }
    let differences = compare(&case.expect, &outcome);
    if differences.is_empty() {
        return Ok(Verdict::Passed);
    }
    if is_blessed {
        let text = std::fs::read_to_string(file)?;
        let text = replace_expect(&text, &blessed(&case.expect, &outcome));
        project::write_whole(file, text.as_bytes()).context("failed to bless the case")?;
        return Ok(Verdict::Blessed);
    }
    Ok(Verdict::Failed(differences.iter().map(show).collect()))
}

/// The same question had two answers.
fn impure(first: &Outcome, second: &Outcome) -> String {
    let mut text =
        "the same question has two answers: a rule must be a function of what it is given\n".to_owned();
    let _ = writeln!(text, "first: {}, then: {}", first.verdict, second.verdict);
    let objects = first.object.as_ref().zip(second.object.as_ref());
    text.extend(objects.map(|(first, second)| diff::unified(("first", "second"), first, second)));
    indented(&text)
}

fn show(difference: &Difference) -> String {
    indented(&match difference {
        Difference::Text { key, expected, found } => {
            format!("{key}: expected {}, found {}\n", good(expected), bad(found))
        }
        Difference::Object { expected, found } => diff::unified(("expected", "found"), expected, found),
    })
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |text, line| text + "    " + line + "\n")
}
