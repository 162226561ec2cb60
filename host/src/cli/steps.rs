//! Shows the steps of something that takes a while: a line each with its seconds, and what a slow one waits for.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::cli::output::{faint, good};

/// A step that takes longer says what it waits for.
const SLOW: Duration = Duration::from_secs(5);
/// As wide as the names of most steps, so that their seconds are below each other.
const WIDTH: usize = 36;

/// The steps so far.
pub(super) struct Steps {
    is_terminal: bool,
    since: Instant,
    said: Option<String>,
}

impl Steps {
    pub(super) fn start() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), since: Instant::now(), said: None }
    }

    /// A step has begun, or goes on and waits for `why`, as far as that is known.
    pub(super) fn waiting(&mut self, name: &str, why: Option<&str>) {
        let elapsed = self.since.elapsed();
        if self.is_terminal {
            write(&format!("\r\x1b[K… {name}  {:.0}s", elapsed.as_secs_f64().floor()));
        }
        if elapsed < SLOW || why.is_none() || self.said.as_deref() == why {
            return;
        }
        if let Some(why) = why {
            self.clear();
            write(&format!("{}\n", faint(format_args!("  waiting for {name}: {why}"))));
            self.said = Some(why.to_owned());
        }
    }

    /// A step is done.
    pub(super) fn done(&mut self, name: &str) {
        self.clear();
        let (mark, seconds) = (good("✓"), self.since.elapsed().as_secs_f64());
        write(&format!("{mark} {name:WIDTH$} {seconds:.1}s\n"));
        self.since = Instant::now();
        self.said = None;
    }

    /// Removes the line of the step that goes on.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            write("\r\x1b[K");
        }
    }
}

/// A closed standard error is no reason to stop the work that is reported.
fn write(text: &str) {
    let mut stderr = anstream::stderr();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}
