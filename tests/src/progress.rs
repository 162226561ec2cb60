//! Tells the person who waits what is being done, on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// One line of progress: rewritten in place on a terminal, repeated now and then elsewhere.
#[derive(Debug)]
pub struct Progress {
    what: String,
    started: Instant,
    terminal: bool,
    last_seconds: u64,
}

/// Without a terminal a line comes this often, so that a log shows life without being flooded.
const LOG_EVERY_SECONDS: u64 = 15;

impl Progress {
    /// Says that `what` has begun.
    pub fn start(what: impl Into<String>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let mut progress = Self { what: what.into(), started: Instant::now(), terminal, last_seconds: 0 };
        if !terminal {
            progress.write(&format!("{} …\n", progress.what));
        }
        progress.update("");
        progress
    }

    /// Shows how far it is; `detail` may be empty.
    pub fn update(&mut self, detail: &str) {
        let seconds = self.started.elapsed().as_secs();
        let line = format!("{} … {seconds} s {detail}", self.what);
        if self.terminal {
            self.write(&format!("\r\x1b[K{line}"));
        } else if seconds >= self.last_seconds + LOG_EVERY_SECONDS {
            self.last_seconds = seconds;
            self.write(&format!("{line}\n"));
        }
    }

    /// Says that it is done and how long it took.
    pub fn done(mut self, detail: &str) {
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        let seconds = self.started.elapsed().as_secs_f64();
        self.write(&format!("{start}{}: done in {seconds:.1} s {detail}\n", self.what));
    }

    /// A closed standard error is no reason to stop the work that is reported.
    fn write(&mut self, text: &str) {
        let mut stderr = std::io::stderr();
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
    }
}
