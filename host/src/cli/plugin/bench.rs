//! `weft plugin bench`: how long a call takes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::input::Question;
use crate::cli::output::{Format, print, print_value, table};
use crate::cli::project;
use crate::cli::sheet::size;
use crate::plugin::bench::{Measured, Spread, measure};

/// Arguments of `weft plugin bench`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Bench {
    /// The component, or the folder that it was built in.
    #[arg(value_name = "FILE")]
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

pub(super) fn bench(arguments: &Bench) -> Result<ExitCode> {
    let file = project::component(&arguments.path)?;
    let bytes = std::fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let case = arguments.question.read()?;
    let measured = measure(&bytes, &case, usize::try_from(arguments.runs)?)
        .with_context(|| format!("failed to measure {}", file.display()))?;
    match arguments.output {
        Format::Text | Format::Wide => print(&text(&measured)),
        format => print_value(&measured, format)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(measured: &Measured) -> String {
    let row = |name: &str, spread: Spread| {
        vec![name.to_owned(), format!("{:.1}", spread.p50), format!("{:.1}", spread.p99)]
    };
    let rows = [
        row("instantiate", measured.instantiate_us),
        row("fresh call", measured.fresh_us),
        row("second call", measured.warm_us),
        row("whole rule", measured.rule_us),
    ];
    let (name, size, runs) = (&measured.plugin, size(measured.size_bytes), measured.runs);
    let head = format!("{name}, {size}, compiled in {:.1} ms; {runs} runs\n\n", measured.compile_ms);
    head + &table(&["MICROSECONDS", "P50", "P99"], &rows)
}
