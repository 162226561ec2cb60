//! Lookups of plugins: grants, limits, and no data of Secrets in the log.

use anyhow::{Result, ensure};
use serde_json::json;

use super::bench::{Bench, PLANTED, PLANTED_IN_BASE_64, pod};
use super::events::logged;

/// Most lookups of one call.
const READS: u32 = 1000;

#[test]
fn a_plugin_can_look_up_only_what_is_granted() -> Result<()> {
    let bench = Bench::new()?;
    ensure!(bench.answer("read", "db")?.contains(PLANTED_IN_BASE_64), "the granted Secret is missing");
    ensure!(bench.answer("read", "none")?.contains("Ok(None)"), "a missing Secret is found");
    for action in ["read-ungranted", "read-host"] {
        let answer = bench.answer(action, "db")?;
        ensure!(answer.contains("not-granted"), "{action}: {answer}");
    }
    Ok(())
}

#[test]
fn lookups_fail_after_the_limit() -> Result<()> {
    let bench = Bench::new()?;
    for action in ["read-flood", "read-same-flood", "find-flood"] {
        let answered: u32 = bench.answer(action, "db")?.parse()?;
        ensure!(answered <= READS, "{action}: {answered} lookups succeeded");
    }
    ensure!(bench.answer("read-long", "")? == "200", "a lookup of an impossible name fails");
    Ok(())
}

#[test]
fn data_of_secrets_is_not_logged() -> Result<()> {
    let bench = Bench::new()?;
    for action in ["log-secret", "panic-secret"] {
        let (problem, log) = logged(|| bench.fault(&pod(action, &json!("db"))?));
        let problem = problem?;
        ensure!(log.contains("withheld"), "{action}: the log does not say that lines are withheld: {log}");
        for secret in [PLANTED, PLANTED_IN_BASE_64] {
            ensure!(!log.contains(secret), "{action}: the log has it: {log}");
            ensure!(!problem.why.contains(secret), "{action}: the event has it: {problem}");
        }
    }
    Ok(())
}
