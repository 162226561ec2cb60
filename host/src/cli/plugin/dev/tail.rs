//! Follows the log of a syncer, as far as it speaks of plugins.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cli::output::{faint, print};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The target of all lines of plugins and of those who load them.
const TARGET: &str = "weft::plugin";

/// Shows each new line about plugins, for ever; without a file, only waits.
pub(super) async fn follow(file: Option<&Path>) -> Result<()> {
    let Some(file) = file else { return std::future::pending().await };
    let mut log = File::open(file).with_context(|| format!("failed to read the log {}", file.display()))?;
    log.seek(SeekFrom::End(0))?;
    let mut log = BufReader::new(log);
    let mut line = String::new();
    loop {
        // A line that is still being written stays until its end is there.
        while log.read_line(&mut line)? > 0 && line.ends_with('\n') {
            if line.contains(TARGET) {
                print(&faint(format!("log  {line}")));
            }
            line.clear();
        }
        tokio::time::sleep(LOOK).await;
    }
}
