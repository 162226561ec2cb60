//! Measures a plugin: compilation, instantiation, calls and memory.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use weft_core::object::VirtualObject;

use crate::author::cases::Case;
use crate::author::workbench::{Workbench, surroundings};
use crate::plugin::probe::Probe;

/// Measurements of one plugin with one object. Durations of calls are in microseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Name of the plugin.
    pub plugin: String,
    /// Bytes of the component.
    pub size_bytes: usize,
    /// Compilation without a cache, in milliseconds.
    pub compile_ms: f64,
    /// Creation of an instance.
    pub instantiate_us: Spread,
    /// A call in a fresh instance, including `configure`: the cost of each call in the syncer.
    pub fresh_us: Spread,
    /// A second call in the same instance.
    pub warm_us: Spread,
    /// The whole rule: serialise the request, call a fresh instance, parse the outcome.
    pub rule_us: Spread,
    /// The same object with the built-in rules only: draft, rule and guard.
    pub native_us: Spread,
    /// How often each was measured.
    pub runs: usize,
}

/// Percentiles of a duration.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    /// Half of the runs took no longer.
    pub p50: f64,
    /// 99 of 100 runs took no longer.
    pub p99: f64,
}

/// Runs that are not measured: they warm up the caches of the processor and of the allocator.
const WARM_UP: usize = 20;
/// Number of components whose memory is measured together, so that single pages and the allocator's reserve matter
/// little.
const COPIES: usize = 4;

/// Measures the component `bytes` with the request of `case`, each part `runs` times.
///
/// # Errors
/// The component cannot be loaded, or its calls fail.
pub fn measure(bytes: &[u8], case: &Case, runs: usize) -> Result<Measured> {
    // A sandbox without a cache, so that the component is compiled.
    let bench = Workbench::new(None, &[])?;
    let start = Instant::now();
    bench.sandbox().compile(bytes)?;
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    let plugin = bench.examine_bytes(bytes)?;
    let loaded = case.load_plugin(&bench, &plugin)?;
    let name = plugin.loaded.descriptor.name.clone();
    let rule_us = spread(runs, || {
        let trace = case.trace(&loaded, &name)?;
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

/// The object of `case` with the built-in rules; zero if only plugins map its kind.
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

/// The memory of the loaded, idle component, in bytes, measured as growth of this process.
///
/// Comparable to a syncer only if the component is already in `cache` and this process has not compiled anything:
/// memory used for compiling is not all returned to the system.
///
/// # Errors
/// The component cannot be loaded, or the system has no `/proc/self/statm`.
pub fn idle_bytes(bytes: &[u8], cache: &Path) -> Result<usize> {
    let bench = Workbench::new(Some(cache), &[])?;
    // The first one also loads what all share: pages of this program, and tables of the engine.
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
    let statm =
        std::fs::read_to_string("/proc/self/statm").context("failed to read the memory of this process")?;
    let pages = statm.split_whitespace().nth(1).context("statm has a second number")?;
    Ok(pages.parse::<usize>()? * PAGE)
}

fn call_fresh(probe: &Probe) -> Result<Duration> {
    let start = Instant::now();
    probe.call(1)?;
    Ok(start.elapsed())
}

/// The last call of the only plugin of `bench`, to be repeated.
fn probe(bench: &Workbench, case: &Case) -> Result<Probe> {
    let generation = bench.plugins().next().context("no plugin is loaded")?.clone();
    let Some(recorded) = generation.recorder.calls().into_iter().next() else {
        let source = VirtualObject::new(case.r#virtual.clone());
        bail!("the plugin was not called for {source:?}, or it is a Secret, whose calls are not recorded");
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
