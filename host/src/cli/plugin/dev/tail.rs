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
    let mut log = File::open(file).with_context(|| format!("failed to read the log {}", file.display()))?;
    log.seek(SeekFrom::End(0))?;
    let mut log = BufReader::new(log);
    let mut line = String::new();
    loop {
        // A line that is still being written is kept until it is complete.
        while log.read_line(&mut line)? > 0 && line.ends_with('\n') {
            if line.contains(TARGET) {
                print(&faint(format!("log  {line}")));
            }
            line.clear();
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
