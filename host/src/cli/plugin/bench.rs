//! `weft plugin bench`: measures the duration of calls, and the memory of the idle plugin.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::author::bench::{Measured, Spread, idle_bytes, measure};
use crate::cli::input::Request;
use crate::cli::output::{Format, print, print_value, table};
use crate::cli::plugin::build;
use crate::cli::project;
use crate::cli::summary::size;

/// Arguments of `weft plugin bench`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Bench {
    /// The component, or the folder of the plugin, which is built if its source is newer.
    #[arg(value_name = "FILE", default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    request: Request,
    /// How often to measure each part.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Arguments of `weft plugin idle-memory`, which the bench runs in another process.
#[derive(Debug, Args)]
pub(in crate::cli) struct IdleMemory {
    /// The component.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder of compiled components.
    #[arg(long, value_name = "FOLDER")]
    cache: PathBuf,
}

/// The output.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measurements {
    #[serde(flatten)]
    calls: Measured,
    /// Memory of the loaded, idle component.
    idle_bytes: usize,
}

pub(super) fn bench(arguments: &Bench) -> Result<ExitCode> {
    let case = arguments.request.read(&arguments.path)?;
    let bench = project::workbench()?;
    let file = build::component(&bench, &arguments.path)?;
    // Reports a component that cannot be loaded, before anything is measured.
    bench.examine(&file)?;
    let bytes = read(&file)?;
    let calls = measure(&bytes, &case, usize::try_from(arguments.runs)?)
        .with_context(|| format!("failed to measure {}", file.display()))?;
    let measurements = Measurements { calls, idle_bytes: idle(&file)? };
    match arguments.output {
        Format::Text | Format::Wide => print(&measurements.to_text()),
        format => print_value(&measurements, format)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn idle_memory(arguments: &IdleMemory) -> Result<ExitCode> {
    print(&format!("{}\n", idle_bytes(&read(&arguments.file)?, &arguments.cache)?));
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}

/// Memory of the idle component, in bytes, in a process that finds it compiled.
fn idle(file: &Path) -> Result<usize> {
    let cache = tempfile::tempdir().context("failed to make a folder for the compiled component")?;
    // The first process compiles; the second one uses its cache.
    load_in_another_process(file, cache.path())?;
    load_in_another_process(file, cache.path())
}

fn load_in_another_process(file: &Path, cache: &Path) -> Result<usize> {
    let weft = std::env::current_exe().context("failed to find the program that is running")?;
    let run = Command::new(weft).args(["plugin", "idle-memory", "--cache"]).arg(cache).arg(file).output();
    let run = run.context("failed to start the process that loads the component")?;
    let (printed, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    ensure!(run.status.success(), "the process that loads the component failed: {}", errors.trim());
    printed.trim().parse().with_context(|| format!("{printed:?} is not a number of bytes"))
}

impl Measurements {
    /// For people.
    fn to_text(&self) -> String {
        let Self { calls: measured, idle_bytes } = self;
        let row = |name: &str, spread: Spread| {
            vec![name.to_owned(), format!("{:.1}", spread.p50), format!("{:.1}", spread.p99)]
        };
        let rows = [
            row("instantiate", measured.instantiate_us),
            row("fresh call", measured.fresh_us),
            row("second call", measured.warm_us),
            row("whole rule", measured.rule_us),
        ];
        let (name, runs) = (&measured.plugin, measured.runs);
        let (component, idle) = (size(measured.size_bytes), size(*idle_bytes));
        let head = format!(
            "{name}, {component}, compiled in {:.1} ms, {idle} of memory; {runs} runs\n\n",
            measured.compile_ms
        );
        head + &table(&["MICROSECONDS", "P50", "P99"], &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_a_line_and_a_table() {
        let spread = |p50: f64| Spread { p50, p99: p50 * 2.0 };
        let calls = Measured {
            plugin: "team-label".to_owned(),
            size_bytes: 2048,
            compile_ms: 12.34,
            instantiate_us: spread(1.0),
            fresh_us: spread(2.0),
            warm_us: spread(3.0),
            rule_us: spread(40.25),
            native_us: spread(5.0),
            runs: 10,
        };
        let lines = [
            "team-label, 2 KiB, compiled in 12.3 ms, 1.0 MiB of memory; 10 runs",
            "",
            "MICROSECONDS  P50   P99",
            "instantiate   1.0   2.0",
            "fresh call    2.0   4.0",
            "second call   3.0   6.0",
            "whole rule    40.2  80.5",
        ];
        let text = Measurements { calls, idle_bytes: 1_048_576 }.to_text();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }
}
