//! `weft plugin bench`: how long a call takes, and what the plugin takes while nobody calls it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::author::bench::{Measured, Spread, idle_bytes, measure};
use crate::cli::input::Question;
use crate::cli::output::{Format, print, print_value, table};
use crate::cli::plugin::build;
use crate::cli::project;
use crate::cli::sheet::size;

/// Arguments of `weft plugin bench`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Bench {
    /// The component, or the folder of the plugin, which is built where its source is newer.
    #[arg(value_name = "FILE", default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    question: Question,
    /// How often each part is done.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// What to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Arguments of `weft plugin idle-memory`, by which the bench calls itself.
#[derive(Debug, Args)]
pub(in crate::cli) struct IdleMemory {
    /// The component.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder of compiled components.
    #[arg(long, value_name = "FOLDER")]
    cache: PathBuf,
}

/// What is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sheet {
    #[serde(flatten)]
    calls: Measured,
    /// Memory that the loaded component takes while nobody calls it.
    idle_bytes: usize,
}

pub(super) fn bench(arguments: &Bench) -> Result<ExitCode> {
    let case = arguments.question.read(&arguments.path)?;
    let bench = project::workbench()?;
    let file = build::component(&bench, &arguments.path)?;
    // What cannot be loaded is told here in plain words.
    bench.examine(&file)?;
    let bytes = read(&file)?;
    let calls = measure(&bytes, &case, usize::try_from(arguments.runs)?)
        .with_context(|| format!("failed to measure {}", file.display()))?;
    let sheet = Sheet { calls, idle_bytes: idle(&file)? };
    match arguments.output {
        Format::Text | Format::Wide => print(&text(&sheet)),
        format => print_value(&sheet, format)?,
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

/// Memory of the idle component, in bytes, in a process that found it compiled.
fn idle(file: &Path) -> Result<usize> {
    let cache = tempfile::tempdir().context("failed to make a folder for the compiled component")?;
    // The first process compiles, the second one finds it done.
    load_in_another_process(file, cache.path())?;
    load_in_another_process(file, cache.path())
}

fn load_in_another_process(file: &Path, cache: &Path) -> Result<usize> {
    let weft = std::env::current_exe().context("failed to find the program that is running")?;
    let run = Command::new(weft).args(["plugin", "idle-memory", "--cache"]).arg(cache).arg(file).output();
    let run = run.context("failed to start the process that loads the component")?;
    let (printed, told) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    ensure!(run.status.success(), "the process that loads the component failed: {}", told.trim());
    printed.trim().parse().with_context(|| format!("{printed:?} is no number of bytes"))
}

fn text(sheet: &Sheet) -> String {
    let Sheet { calls: measured, idle_bytes } = sheet;
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
