//! Shows progress on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// One line of progress: rewritten in place on a terminal, repeated now and then elsewhere.
#[derive(Debug)]
pub struct Progress {
    what: String,
    started: Instant,
    style: Style,
    last_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Terminal,
    Log,
    Quiet,
}

/// Interval of lines without a terminal, so that a log shows progress without being flooded.
const LOG_EVERY_SECONDS: u64 = 15;

impl Progress {
    /// Shows that `what` has begun.
    pub fn start(what: &str) -> Self {
        let style = if std::io::stderr().is_terminal() { Style::Terminal } else { Style::Log };
        let mut progress = Self::new(what, style);
        if style == Style::Log {
            write(&format!("{what} …\n"));
        }
        progress.update("");
        progress
    }

    /// Shows nothing before it is done, because others use the screen.
    pub fn quiet(what: &str) -> Self {
        Self::new(what, Style::Quiet)
    }

    fn new(what: &str, style: Style) -> Self {
        Self { what: what.to_owned(), started: Instant::now(), style, last_seconds: 0 }
    }

    /// Shows how far it is; `detail` may be empty.
    pub fn update(&mut self, detail: &str) {
        let seconds = self.started.elapsed().as_secs();
        let line = format!("{} … {seconds} s {detail}", self.what);
        match self.style {
            Style::Terminal => write(&format!("\r\x1b[K{line}")),
            Style::Log if seconds >= self.last_seconds + LOG_EVERY_SECONDS => {
                self.last_seconds = seconds;
                write(&format!("{line}\n"));
            }
            Style::Log | Style::Quiet => {}
        }
    }

    /// Shows that it is done, and how long it took.
    pub fn done(self, detail: &str) {
        let start = if self.style == Style::Terminal { "\r\x1b[K" } else { "" };
        let seconds = self.started.elapsed().as_secs_f64();
        write(&format!("{start}{}: done in {seconds:.1} s {detail}\n", self.what));
    }
}

/// A closed standard error is no reason to stop the work that is reported.
fn write(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}
