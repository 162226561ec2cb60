//! Prints how the verification goes.
#![expect(clippy::print_stdout, reason = "printing is this module's work")]

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::parts::{Kind, Outcome, Part};

/// Said before a part's own output.
pub(crate) fn heading(part: &Part) {
    println!("\n=== {} === cargo {}", part.name, part.arguments.join(" "));
}

/// Said before tests that have failed are tried again.
pub(crate) fn second_try(tests: &BTreeSet<String>) {
    println!("\n=== again, one after the other === {}", names(tests));
}

fn names(tests: &BTreeSet<String>) -> String {
    tests.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What failing tests have said, once more, the table of all parts, and the line that counts them.
pub(crate) fn closing(outcomes: &[Outcome]) -> ExitCode {
    for outcome in outcomes.iter().filter(|outcome| !outcome.failures.lines().is_empty()) {
        println!("\n=== {} === what has failed", outcome.part.name);
        outcome.failures.lines().iter().for_each(|line| println!("{line}"));
    }
    println!();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for outcome in outcomes {
        let line = match &outcome.result {
            Kind::Passed => {
                passed += 1;
                "passed".to_owned()
            }
            Kind::PassedAgain => {
                passed += 1;
                format!("passed at the second try, a race to be mended: {}", names(outcome.failures.failed()))
            }
            Kind::Skipped(reason) => {
                skipped += 1;
                format!("skipped: {reason}")
            }
            Kind::Failed(reason) => {
                failed += 1;
                format!("FAILED: {reason}")
            }
        };
        println!("{:8} {:7.1} s  {line}", outcome.part.name, outcome.took.as_secs_f64());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
