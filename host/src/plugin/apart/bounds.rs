//! What a child process may take, and how it sees to that itself.

use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::Work;

const MIB: u64 = 1024 * 1024;
/// Compiling a whole Python takes 5 s on two cores.
const COMPILE: Bounds = Bounds { time: Duration::from_mins(1), memory: 1024 * MIB, patience: 2 };
/// Settings are a page of text.
const SETTINGS: Bounds = Bounds { time: Duration::from_secs(5), memory: 128 * MIB, patience: 6 };
/// What a container gives less than is too little for any compiler.
const LEAST: u64 = 64 * MIB;
/// Room for the program's own file, stacks and addresses that are set aside and never written.
const ADDRESSES: u64 = 2048 * MIB;

/// What a child may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// On a processor.
    pub(super) time: Duration,
    /// By the clock it may take so many times as long: a machine may have other work.
    pub(super) patience: u32,
    /// Bytes of data that are its own.
    pub(super) memory: u64,
}

impl Bounds {
    /// By the clock.
    pub(super) fn clock(self) -> Duration {
        self.time * self.patience
    }
}

/// The bounds of `work`, here.
pub(super) fn of(work: &Work) -> Bounds {
    let bounds = match work {
        Work::Compile { .. } => COMPILE,
        Work::Settings => SETTINGS,
    };
    within(bounds, container())
}

/// A child shares the memory of its container with its parent: at the container's end both are killed.
fn within(bounds: Bounds, container: Option<u64>) -> Bounds {
    let share = container.map_or(u64::MAX, |limit| limit / 4 * 3);
    Bounds { memory: bounds.memory.min(share.max(LEAST)), ..bounds }
}

/// The memory that the container may have (cgroup v2, and v1).
fn container() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// Bounds this process for good.
///
/// # Errors
/// The system refuses it.
pub(super) fn apply(bounds: Bounds) -> nix::Result<()> {
    let limit = |resource, limit| setrlimit(resource, limit, limit);
    // getrlimit(2): private data that can be written, which is what counts against the container.
    limit(Resource::RLIMIT_DATA, bounds.memory)?;
    limit(Resource::RLIMIT_AS, bounds.memory + ADDRESSES)?;
    limit(Resource::RLIMIT_CPU, bounds.time.as_secs())?;
    limit(Resource::RLIMIT_CORE, 0)?;
    // The thread that has started this one waits for it: without it nobody does.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_container_bounds_its_children_below_itself() {
        let memory = |container| within(COMPILE, container).memory / MIB;
        assert_eq!(memory(None), 1024);
        assert_eq!(memory(Some(8192 * MIB)), 1024);
        assert_eq!(memory(Some(256 * MIB)), 192);
        assert_eq!(memory(Some(16 * MIB)), 64);
        assert_eq!(within(SETTINGS, Some(1024 * MIB)), SETTINGS);
    }
}
