//! Builds this program again as runs need it, and starts that: quick, and with tokio's own chance following the seed.

use std::process::ExitCode;

use anyhow::Context as _;
use weft_tests::arguments::arguments;
use weft_tests::cargo;

/// `rng_seed` of tokio's runtime is there only with this. The product is built without: it has a folder of its own.
pub(crate) const ENVIRONMENT: [(&str, &str); 2] =
    [("RUSTFLAGS", "--cfg tokio_unstable"), ("CARGO_TARGET_DIR", TARGET)];
pub(crate) const TARGET: &str = "target/simulation";
/// Followed by the profile and [`arguments`].
pub(crate) const CARGO: [&str; 7] =
    ["run", "--quiet", "--package", "weft-tests", "--bin", "simulate", "--profile"];

/// Runs it with the same arguments.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut command = cargo::command().into_std();
    command.args(CARGO).args(["simulation", "--"]).args(arguments().into_iter().skip(1)).envs(ENVIRONMENT);
    let status = command.status().context("failed to start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
