//! Keeps the processors awake at idle priority, so that a quiet virtual machine is not slower than a busy one.
//!
//! A virtual processor that halts makes each wake-up expensive, and the guest accounts it to the process
//! that wakes. Spinners take nothing from others: they run when nothing else wants to.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use weft_tests::process::{Launch, Process};

use crate::usage;

/// Enough for the process to have become what it should be.
const SETTLE: Duration = Duration::from_millis(300);

/// One spinner for each processor; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Spinners(Vec<Process>);

impl Spinners {
    /// Starts them; where that is not possible there are none, and the report says so.
    pub(crate) async fn start(planes: &Path, dir: &Path) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let started: Result<Vec<Process>> = (0..count).map(|_| spin(planes, dir)).collect();
        let mut spinners = started.unwrap_or_default();
        tokio::time::sleep(SETTLE).await;
        // At any other priority they would take what is to be measured.
        if !spinners.iter().all(|spinner| usage::runs_at_idle_priority(spinner.pid())) {
            spinners.clear();
        }
        Self(spinners)
    }

    /// The remark for the report.
    pub(crate) fn describe(&self) -> String {
        match self.0.len() {
            0 => "no idle-priority spinners (chrt is missing or refused): latency and CPU are those of a \
                  machine that sleeps between requests"
                .to_owned(),
            count => format!("{count} idle-priority spinners (SCHED_IDLE) kept the processors awake"),
        }
    }
}

fn spin(planes: &Path, dir: &Path) -> Result<Process> {
    Process::start(&Launch {
        name: "a spinner".to_owned(),
        planes: planes.to_owned(),
        args: ["run", "chrt", "--idle", "0", "sh", "-c", "while :; do :; done"].map(Into::into).to_vec(),
        env: Vec::new(),
        log: dir.join("spinners.log"),
    })
}
