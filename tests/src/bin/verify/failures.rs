//! What failing tests have said and which they are, kept while a part runs: it is read again under the table.

use std::collections::BTreeSet;
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
/// The line after both, and how it goes on.
const END: &str = "test result: ";
/// The line with which a test binary begins.
const RUNNING: &str = "running ";
/// More would bury the table.
const MOST_LINES: usize = 300;
/// How long output may still come after the command has ended.
const LEFT_OVER: Duration = Duration::from_secs(5);

/// The lines about failing tests among those that a part has printed.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    lines: Vec<String>,
    inside: Inside,
    failed: BTreeSet<String>,
    passed: BTreeSet<String>,
    /// How many test binaries have begun and not ended.
    running: usize,
    /// How many tests have failed by their own count.
    counted: usize,
}

/// Which of the two blocks about failing tests is being read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Inside {
    #[default]
    Neither,
    Messages,
    Names,
}

impl Failures {
    /// Takes the next line of the output.
    fn read(&mut self, line: &str) {
        self.inside = match (line, self.inside) {
            (BEGIN, Inside::Neither) => Inside::Messages,
            (BEGIN, _) => Inside::Names,
            _ if line.starts_with(END) => {
                self.running = self.running.saturating_sub(1);
                self.counted += failed(line);
                Inside::Neither
            }
            (_, inside) => inside,
        };
        self.running += usize::from(self.inside == Inside::Neither && line.starts_with(RUNNING));
        match self.inside {
            Inside::Names if line != BEGIN && !line.is_empty() => {
                self.failed.insert(line.trim().to_owned());
            }
            Inside::Neither => self.passed.extend(passed(line).map(str::to_owned)),
            _ => {}
        }
        if self.inside != Inside::Neither && self.lines.len() < MOST_LINES {
            self.lines.push(line.to_owned());
        }
    }

    /// What is to be read again; nothing if no test has failed.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Adds what was said at a second try.
    pub(crate) fn add(&mut self, second: Self) {
        self.lines.extend(second.lines);
    }

    /// The names of the tests that have failed.
    pub(crate) fn failed(&self) -> &BTreeSet<String> {
        &self.failed
    }

    /// Whether these are all that went wrong: every test binary has come to its end, and counts as many.
    pub(crate) fn is_all(&self) -> bool {
        self.running == 0 && self.counted == self.failed.len()
    }

    /// Whether every one of these tests has run, and has not failed.
    pub(crate) fn has_passed(&self, tests: &BTreeSet<String>) -> bool {
        self.passed.is_superset(tests) && self.failed.is_empty()
    }
}

/// How many tests have failed by the line at the end of a test binary.
fn failed(line: &str) -> usize {
    let count = line.split("; ").find_map(|part| part.strip_suffix(" failed"));
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// The name of the test that has passed by this line of libtest.
fn passed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... ok")
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

    fn of(output: &str) -> Failures {
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.read(line));
        failures
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().copied().map(str::to_owned).collect()
    }

    #[test]
    fn the_messages_and_names_of_failing_tests_are_kept() {
        let output = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nError: no\n\n\
                      Caused by:\n    it\n\nfailures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\n\nrunning 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored";
        let kept = of(output);
        assert_eq!(kept.lines().first().map(String::as_str), Some("failures:"));
        assert!(kept.lines().contains(&"Error: no".to_owned()) && kept.lines().contains(&"    b".to_owned()));
        assert!(!kept.lines().iter().any(|line| line.contains("test ")), "{kept:?}");
        assert_eq!(*kept.failed(), names(&["b"]));
        assert!(kept.is_all());
    }

    #[test]
    fn a_binary_that_does_not_end_or_counts_more_failures_is_no_matter_of_single_tests() {
        let failed =
            "running 1 test\n\nfailures:\n\nfailures:\n    b\n\ntest result: FAILED. 0 passed; 1 failed\n";
        assert!(of(failed).is_all());
        assert!(!of(&format!("{failed}running 9 tests\ntest c ... ok")).is_all(), "it was killed");
        assert!(!of(&failed.replace("1 failed", "2 failed")).is_all(), "a name was not understood");
    }

    #[test]
    fn output_without_failures_leaves_nothing_to_read_again() {
        let kept = of("running 1 test\ntest a ... ok\n\ntest result: ok.");
        assert!(kept.lines().is_empty() && kept.failed().is_empty(), "{kept:?}");
    }

    #[test]
    fn tests_have_passed_only_if_each_of_them_has_run() {
        let kept = of("running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed");
        assert!(kept.has_passed(&names(&["a"])));
        assert!(!kept.has_passed(&names(&["a", "b"])), "`b` has not run");
        let failed = of("test a ... ok\n\nfailures:\n\nfailures:\n    b\n\ntest result: FAILED.");
        assert!(!failed.has_passed(&names(&["a"])), "something else has failed");
    }
}
