//! `weft check`: what is wrong with a virtual cluster, and what to do about it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::time::{Instant, timeout_at};
use weft_core::causes::chain;

use crate::cli::host::{self, ClusterFlags};
use crate::cli::output::{self, Format, bad, faint, good, strong};
use crate::cluster::check::{self, Finding, Level};
use crate::cluster::find;

/// What start and output may take of the time; the requests have the rest.
const AROUND: Duration = Duration::from_millis(300);
/// There are warnings.
const WARNINGS: u8 = 1;
/// There are errors.
const ERRORS: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = "Exits with 0 if all is well, 1 if there are warnings, 2 if there are errors.")]
pub(super) struct Check {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Time for all checks together; what has no answer by then is an error.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = super::duration::parse)]
    timeout: Duration,
    /// Output format.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

pub(super) fn check(arguments: &Check) -> ExitCode {
    let findings = host::run(async {
        let deadline = Instant::now() + arguments.timeout.saturating_sub(AROUND);
        let ClusterFlags { name, namespace, host } = &arguments.cluster;
        let host = host.open().await?;
        let set = timeout_at(deadline, find::one(&host, name, namespace.as_deref())).await;
        let set = set.with_context(|| format!("{} does not answer in time", host.describe()))??;
        Ok(check::all(&host, &find::place(&set), &set, deadline).await)
    });
    let shown = findings.and_then(|findings| {
        show(&findings, arguments.output)?;
        Ok(code(&findings))
    });
    // What cannot be checked is an error too, and its code must not be that of warnings.
    ExitCode::from(shown.unwrap_or_else(|error| {
        output::note(&chain(error.as_ref()));
        ERRORS
    }))
}

fn show(findings: &[Finding], format: Format) -> Result<()> {
    match format {
        Format::Json | Format::Yaml => output::print_value(&findings, format)?,
        Format::Text | Format::Wide => output::print(&findings.iter().map(line).collect::<String>()),
    }
    Ok(())
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => good("ok     "),
        Level::Warning => strong("warning"),
        Level::Error => bad("error  "),
    };
    let what = format!("{} {}", finding.side, finding.check);
    let hint = finding.hint.as_ref().map(|hint| format!("{}\n", faint(format_args!("{:9}{hint}", ""))));
    format!("{level}  {what:27} {}\n{}", finding.message, hint.unwrap_or_default())
}

fn code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.level).max() {
        Some(Level::Error) => ERRORS,
        Some(Level::Warning) => WARNINGS,
        Some(Level::Ok) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(level: Level) -> Finding {
        let hint = (level != Level::Ok).then(|| "do something".to_owned());
        Finding { side: "host", check: "storage", level, message: "what was found".to_owned(), hint }
    }

    #[test]
    fn the_worst_finding_is_the_exit_code() {
        assert_eq!(code(&[finding(Level::Ok)]), 0);
        assert_eq!(code(&[finding(Level::Warning), finding(Level::Ok)]), 1);
        assert_eq!(code(&[finding(Level::Warning), finding(Level::Error)]), 2);
    }

    #[test]
    fn a_problem_has_a_second_line_with_what_to_do() {
        let lines = [Level::Ok, Level::Error].map(|level| line(&finding(level)).lines().count());
        assert_eq!(lines, [1, 2]);
    }
}
