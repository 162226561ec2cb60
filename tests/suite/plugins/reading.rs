//! What a plugin can read, and that what it reads of Secrets does not come into the log.

use anyhow::{Result, ensure};
use serde_json::json;

use super::bench::{Bench, PLANTED, PLANTED_IN_BASE_64, pod};
use super::telling::logged;

/// More than this is not answered in one call.
const READS: u32 = 1000;

#[test]
fn a_plugin_reads_what_it_was_granted_and_nothing_else() -> Result<()> {
    let bench = Bench::new()?;
    ensure!(bench.answer("read", "db")?.contains(PLANTED_IN_BASE_64), "what was granted is not there");
    ensure!(bench.answer("read", "none")?.contains("Ok(None)"), "what is not there is there");
    for deed in ["read-ungranted", "read-host"] {
        let answer = bench.answer(deed, "db")?;
        ensure!(answer.contains("not-granted"), "{deed}: {answer}");
    }
    Ok(())
}

#[test]
fn a_plugin_that_asks_without_end_gets_no_more_answers() -> Result<()> {
    let bench = Bench::new()?;
    for deed in ["read-flood", "read-same-flood", "find-flood"] {
        let answered: u32 = bench.answer(deed, "db")?.parse()?;
        ensure!(answered <= READS, "{deed}: {answered} questions were answered");
    }
    ensure!(bench.answer("read-long", "")? == "200", "a name that nobody can have is not answered");
    Ok(())
}

#[test]
fn what_a_plugin_knows_of_a_secret_is_not_logged() -> Result<()> {
    let bench = Bench::new()?;
    for deed in ["log-secret", "panic-secret"] {
        let (problem, log) = logged(|| bench.fault(&pod(deed, &json!("db"))?));
        let problem = problem?;
        ensure!(log.contains("withheld"), "{deed}: the log does not say that something is missing: {log}");
        for secret in [PLANTED, PLANTED_IN_BASE_64] {
            ensure!(!log.contains(secret), "{deed}: the log has it: {log}");
            ensure!(!problem.why.contains(secret), "{deed}: the event has it: {problem}");
        }
    }
    Ok(())
}
