//! What failing tests have said, kept while a part runs so that it can be read again under the table.

use std::io::Write as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

/// The line with which libtest begins the messages of failing tests, and then their names.
const BEGIN: &str = "failures:";
/// The line after both.
const END: &str = "test result:";
/// More would bury the table.
const MOST_LINES: usize = 300;
/// How long output may still come after the command has ended.
const LEFT_OVER: Duration = Duration::from_secs(5);

/// The lines about failing tests among those that a part has printed.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    lines: Vec<String>,
    inside: bool,
}

impl Failures {
    /// Takes the next line of the output.
    fn read(&mut self, line: &str) {
        self.inside = (self.inside || line == BEGIN) && !line.starts_with(END);
        if self.inside && self.lines.len() < MOST_LINES {
            self.lines.push(line.to_owned());
        }
    }

    /// What is to be read again; nothing if no test has failed.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }
}

/// Runs a command, with its output on ours, and keeps what failing tests have said.
pub(crate) async fn run(command: &mut Command, failures: &mut Failures) -> Result<ExitStatus> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("the output is not piped")?;
    let mut copying = pin!(copy(output, failures));
    tokio::select! {
        copied = &mut copying => copied?,
        // A process that it left behind may hold the output open.
        _ = child.wait() => timeout(LEFT_OVER, copying).await.unwrap_or(Ok(()))?,
    }
    Ok(child.wait().await?)
}

/// Copies `output` to ours until it ends.
async fn copy(output: ChildStdout, failures: &mut Failures) -> Result<()> {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Some(mut line) = lines.next_segment().await? {
        failures.read(&String::from_utf8_lossy(&line));
        line.push(b'\n');
        std::io::stdout().write_all(&line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &str) -> Vec<String> {
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.read(line));
        failures.lines().to_vec()
    }

    #[test]
    fn the_messages_and_names_of_failing_tests_are_kept() {
        let output = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nError: no\n\n\
                      failures:\n    b\n\ntest result: FAILED. 1 passed\n\nrunning 1 test\ntest result: ok.";
        let kept = of(output);
        assert_eq!(kept.first().map(String::as_str), Some("failures:"));
        assert!(kept.contains(&"Error: no".to_owned()) && kept.contains(&"    b".to_owned()), "{kept:?}");
        assert!(!kept.iter().any(|line| line.contains("test ")), "{kept:?}");
    }

    #[test]
    fn output_without_failures_leaves_nothing_to_read_again() {
        assert!(of("running 1 test\ntest a ... ok\n\ntest result: ok.").is_empty());
    }
}
