//! What processes use, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// `USER_HZ`: what /proc counts in, the same on every Linux that people run this on.
const TICK: Duration = Duration::from_millis(10);
/// The kernel's policy number of `SCHED_IDLE`.
const IDLE_POLICY: &str = "5";

/// The processor time of a process so far, its own and the kernel's for it.
pub(crate) fn cpu(pid: i32) -> Result<Duration> {
    let (user, system) = (stat(pid, 14)?, stat(pid, 15)?);
    Ok(TICK * (user.parse::<u32>()? + system.parse::<u32>()?))
}

/// The processor time of several processes.
pub(crate) fn cpu_of_all(pids: impl IntoIterator<Item = i32>) -> Result<Duration> {
    pids.into_iter().map(cpu).sum()
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: i32) -> Result<u32> {
    memory(pid, "VmRSS:")
}

/// The most that was resident at any time, in bytes.
pub(crate) fn peak(pid: i32) -> Result<u32> {
    memory(pid, "VmHWM:")
}

fn memory(pid: i32, field: &'static str) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context(field)?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Whether a process runs only when nothing else wants to.
pub(crate) fn runs_at_idle_priority(pid: i32) -> bool {
    stat(pid, 41).is_ok_and(|policy| policy == IDLE_POLICY)
}

/// The load of the machine in the last minute.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// A field of /proc/PID/stat, counted as in proc(5): the second is the name and may contain anything.
fn stat(pid: i32, field: usize) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let value = rest.split_whitespace().nth(field - 3).context("too few fields")?;
    Ok(value.to_owned())
}
