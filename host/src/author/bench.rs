//! How long a plugin takes: to be compiled, to be instantiated, and to answer.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use weft_core::object::VirtualObject;

use crate::author::cases::Case;
use crate::author::workbench::{Workbench, surroundings};
use crate::plugin::probe::Probe;

/// What was measured of one plugin with one object. Times of calls are in microseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Name of the plugin.
    pub plugin: String,
    /// Bytes of the component.
    pub size_bytes: usize,
    /// Compiling it, with nothing in any cache, in milliseconds.
    pub compile_ms: f64,
    /// A fresh instance, and nothing done with it.
    pub instantiate_us: Spread,
    /// A fresh instance that takes its settings and answers: what each call costs in the syncer.
    pub fresh_us: Spread,
    /// Another answer of an instance that has answered once.
    pub warm_us: Spread,
    /// The whole rule: the request written out, a fresh call, the answer read.
    pub rule_us: Spread,
    /// The same object by the built-in rules alone: draft, rules and guard.
    pub native_us: Spread,
    /// How often each was done.
    pub runs: usize,
}

/// How long it took in most of the runs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    /// Half of the runs took no longer.
    pub p50: f64,
    /// 99 of 100 runs took no longer.
    pub p99: f64,
}

/// Runs that are not counted: the first ones fill caches of the processor and of the allocator.
const WARM_UP: usize = 20;
/// Loaded components of which the memory is taken: so many that a page more or less, and what the allocator
/// keeps for the next one, count for little.
const COPIES: usize = 4;

/// Measures the component `bytes` with the question of `case`, each part `runs` times.
///
/// # Errors
/// The component cannot be loaded, or does not answer.
pub fn measure(bytes: &[u8], case: &Case, runs: usize) -> Result<Measured> {
    // A sandbox of its own without a folder for compiled components, so that it is compiled indeed.
    let bench = Workbench::new(None, &[])?;
    let start = Instant::now();
    bench.sandbox().compile(bytes)?;
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    let plugin = bench.examine_bytes(bytes)?;
    let loaded = case.load_plugin(&bench, &plugin)?;
    let name = plugin.loaded.descriptor.name.clone();
    let rule_us = spread(runs, || {
        let trace = case.watch(&loaded, &name)?;
        Ok(trace.calls.first().map(|call| call.took).unwrap_or_default())
    })?;
    let probe = probe(&loaded, case)?;
    Ok(Measured {
        plugin: name,
        size_bytes: bytes.len(),
        compile_ms,
        instantiate_us: spread(runs, || Ok(probe.instantiate()?))?,
        fresh_us: spread(runs, || call_fresh(&probe))?,
        warm_us: spread(runs, || Ok(probe.call(2)?))?,
        rule_us,
        native_us: native(case, runs)?,
        runs,
    })
}

/// The object of `case` by the built-in rules; nothing where nobody but a plugin maps its kind.
fn native(case: &Case, runs: usize) -> Result<Spread> {
    let (bench, around) = (Workbench::new(None, &[])?, surroundings()?);
    let source = VirtualObject::new(case.r#virtual.clone());
    if bench.to_host(&around, &source, None).is_err() {
        return Ok(Spread { p50: 0.0, p99: 0.0 });
    }
    spread(runs, || {
        let start = Instant::now();
        bench.to_host(&around, &source, None)?;
        Ok(start.elapsed())
    })
}

/// What this process grows by, in bytes, when the component is loaded and nobody calls it.
///
/// As in a syncer only where the component is in `cache` already, and in a process that has not compiled
/// anything: the memory that compiling takes does not all go back to the system.
///
/// # Errors
/// The component cannot be loaded, or the system does not tell of memory (Linux does).
pub fn idle_bytes(bytes: &[u8], cache: &Path) -> Result<usize> {
    let bench = Workbench::new(Some(cache), &[])?;
    // The first one also brings in what all share: pages of this program, the engine's own tables.
    let first = bench.examine_bytes(bytes)?;
    let before = resident()?;
    let kept: Vec<_> = (0..COPIES).map(|_| bench.examine_bytes(bytes)).collect::<Result<_, _>>()?;
    let grown = resident()?.saturating_sub(before);
    drop((first, kept));
    Ok(grown / COPIES)
}

/// Resident memory of this process, in bytes (Linux: proc(5), `statm`).
fn resident() -> Result<usize> {
    const PAGE: usize = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").context("the system tells nothing of memory")?;
    let pages = text.split_whitespace().nth(1).context("statm has a second number")?;
    Ok(pages.parse::<usize>()? * PAGE)
}

fn call_fresh(probe: &Probe) -> Result<Duration> {
    let start = Instant::now();
    probe.call(1)?;
    Ok(start.elapsed())
}

/// The call that the only plugin of `bench` has just had, to be made again.
fn probe(bench: &Workbench, case: &Case) -> Result<Probe> {
    let generation = bench.plugins().next().context("no plugin is loaded")?.clone();
    let Some(recorded) = generation.recorder.calls().into_iter().next() else {
        let source = VirtualObject::new(case.r#virtual.clone());
        bail!("the plugin was not called for {source:?}, or it is a Secret, of which nothing is kept");
    };
    Ok(Probe::new(generation, recorded, surroundings()?.names))
}

/// Runs `measure` often and sorts the times.
fn spread(runs: usize, mut measure: impl FnMut() -> Result<Duration>) -> Result<Spread> {
    for _ in 0..WARM_UP.min(runs) {
        measure()?;
    }
    let times: Result<Vec<Duration>> = (0..runs.max(1)).map(|_| measure()).collect();
    let mut times = times?;
    times.sort_unstable();
    Ok(Spread { p50: micros(&times, 50), p99: micros(&times, 99) })
}

/// The time that `percent` of the sorted times do not exceed.
fn micros(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map(Duration::as_secs_f64).unwrap_or_default() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert!((micros(&times, 50) - 100.0).abs() < 1e-6 && (micros(&times, 99) - 198.0).abs() < 1e-6);
        assert!((micros(&[Duration::from_micros(7)], 99) - 7.0).abs() < 1e-6);
    }
}
