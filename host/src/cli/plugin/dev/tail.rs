//! Follows the lines about plugins in the log of a syncer.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cli::output::{faint, print};

/// How often the file is read.
const INTERVAL: Duration = Duration::from_millis(200);
/// The target of log lines of plugins, and of lines about loading them.
const TARGET: &str = "weft::plugin";

/// Shows each new line about plugins, without end; without a file, waits for ever.
pub(super) async fn follow(file: Option<&Path>) -> Result<()> {
    let Some(file) = file else { return std::future::pending().await };
    let mut tail = Tail::at_end_of(file)?;
    loop {
        while let Some(line) = tail.next_about_plugins()? {
            print(&faint(format!("log  {line}")));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What is written to a log from now on.
struct Tail {
    log: BufReader<File>,
    /// A line that is still being written is kept until it is complete.
    line: String,
}

impl Tail {
    fn at_end_of(file: &Path) -> Result<Self> {
        let mut log =
            File::open(file).with_context(|| format!("failed to read the log {}", file.display()))?;
        log.seek(SeekFrom::End(0))?;
        Ok(Self { log: BufReader::new(log), line: String::new() })
    }

    /// The next complete line about plugins, if there is one already: of loading them, or of a call.
    fn next_about_plugins(&mut self) -> Result<Option<String>> {
        while self.log.read_line(&mut self.line)? > 0 && self.line.ends_with('\n') {
            let line = std::mem::take(&mut self.line);
            if line.contains(TARGET) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn lines_of_loading_and_of_calls_are_shown_once_they_are_complete() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "INFO weft::plugin::manager: of before").unwrap();
        let mut tail = Tail::at_end_of(file.path()).unwrap();
        writeln!(file, "INFO weft::engine: rules are applied").unwrap();
        writeln!(file, "INFO weft::plugin::reload: loaded").unwrap();
        write!(file, "WARN weft::plugin::guest: plugin=\"labels\" about=\"shop/web\" no ").unwrap();
        assert_eq!(tail.next_about_plugins().unwrap().unwrap(), "INFO weft::plugin::reload: loaded\n");
        assert_eq!(tail.next_about_plugins().unwrap(), None, "the last line is still being written");
        writeln!(file, "team").unwrap();
        let last = tail.next_about_plugins().unwrap().unwrap();
        assert_eq!(last, "WARN weft::plugin::guest: plugin=\"labels\" about=\"shop/web\" no team\n");
    }
}
