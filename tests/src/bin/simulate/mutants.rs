//! Faults that a tired engineer could write, in `tests/mutants/`: each is put into a copy of the tree, and it is seen whether a
//! simulated run or a test notices it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;
use tokio::time::timeout;
use weft_tests::cargo;

use crate::{build, report};

/// Where the patches are.
const PATCHES: &str = "tests/mutants";
/// The copy that they are put into.
const TREE: &str = "target/mutants";
/// A mutant that so many runs do not show is left to the tests.
const RUNS: &str = "2000";
/// A mutant may never come to an end.
const LONGEST: Duration = Duration::from_mins(15);
/// So many may go unnoticed.
const UNNOTICED: usize = 1;
/// The tests beside the engine, which start no server.
const TESTS: [&str; 7] = ["test", "--quiet", "--package", "weft-core", "--package", "weft", "--no-fail-fast"];

/// What noticed a mutant.
pub(crate) enum Notice {
    /// A simulated run of this seed.
    Seed(String),
    /// A test of this name.
    Test(String),
    /// A run that did not end.
    Hang,
    /// It does not compile, so it shows nothing: the patch is to be mended.
    Broken(String),
    Nothing,
}

/// Tries every mutant, or those whose names contain `wanted`.
pub(crate) fn run(wanted: &str) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut tried, mut unnoticed, mut broken) = (0, 0, 0);
        for patch in patches()? {
            let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains(wanted) {
                let notice = notice(&patch).await.with_context(|| format!("mutant {name}"))?;
                tried += 1;
                match notice {
                    Notice::Broken(_) => broken += 1,
                    Notice::Nothing => unnoticed += 1,
                    _ => {}
                }
                report::print_mutant(&name, &notice);
            }
        }
        report::print_mutants(tried, unnoticed + broken);
        Ok(if broken == 0 && unnoticed <= UNNOTICED { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn patches() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(PATCHES).with_context(|| format!("no {PATCHES}: start this from the root"))?;
    let mut patches =
        entries.map(|entry| Ok(fs::canonicalize(entry?.path())?)).collect::<Result<Vec<_>>>()?;
    patches.sort();
    Ok(patches)
}

async fn notice(patch: &Path) -> Result<Notice> {
    copy().await?;
    apply(patch).await?;
    Ok(match noticed_by_runs().await? {
        Notice::Nothing => noticed_by_tests().await?,
        noticed => noticed,
    })
}

async fn noticed_by_runs() -> Result<Notice> {
    let mut command = cargo::command();
    // Quick to build: most show at once.
    command.args(build::CARGO).args(["dev", "--", "--seeds", RUNS, "--brief"]).envs(build::ENVIRONMENT);
    command.env("CARGO_TARGET_DIR", target(build::TARGET)?);
    let mut compile = cargo::command();
    compile.args(["build", "--quiet", "--package", "weft-tests", "--bin", "simulate"]);
    compile.envs(build::ENVIRONMENT).env("CARGO_TARGET_DIR", target(build::TARGET)?);
    let simulated = match at_work(&mut compile, &mut command).await? {
        Ended::Output(output) => output,
        Ended::Other(notice) => return Ok(notice),
    };
    let said = String::from_utf8_lossy(&simulated.stdout).into_owned();
    if let Some((_, seeds)) = said.trim_end().rsplit_once("failed: ") {
        return Ok(Notice::Seed(seeds.split(',').next().unwrap_or_default().to_owned()));
    }
    let complaint = String::from_utf8_lossy(&simulated.stderr);
    if complaint.contains("a run has panicked") {
        return Ok(Notice::Seed("that panics".to_owned()));
    }
    ensure!(simulated.status.success(), "{complaint}");
    Ok(Notice::Nothing)
}

async fn noticed_by_tests() -> Result<Notice> {
    let mut command = cargo::command();
    command.args(TESTS).env("CARGO_TARGET_DIR", target("target")?);
    let mut compile = cargo::command();
    compile.args(TESTS).arg("--no-run").env("CARGO_TARGET_DIR", target("target")?);
    let tested = match at_work(&mut compile, &mut command).await? {
        Ended::Output(output) => output,
        Ended::Other(notice) => return Ok(notice),
    };
    if tested.status.success() {
        return Ok(Notice::Nothing);
    }
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    let failed =
        said.lines().find_map(|line| line.trim().strip_prefix("---- ")?.strip_suffix(" stdout ----"));
    match failed {
        Some(test) => Ok(Notice::Test(test.to_owned())),
        None => bail!("{}", String::from_utf8_lossy(&tested.stderr)),
    }
}

/// How a command in the copy ended.
enum Ended {
    Output(Output),
    Other(Notice),
}

/// Compiles and runs in the copy.
async fn at_work(compile: &mut Command, command: &mut Command) -> Result<Ended> {
    for command in [&mut *compile, &mut *command] {
        // One file of many has changed.
        command.current_dir(TREE).env("CARGO_INCREMENTAL", "1").kill_on_drop(true);
    }
    let compiled = compile.output().await.context("failed to start cargo")?;
    if !compiled.status.success() {
        let complaint = String::from_utf8_lossy(&compiled.stderr).into_owned();
        return Ok(Ended::Other(Notice::Broken(complaint)));
    }
    match timeout(LONGEST, command.output()).await {
        Ok(output) => Ok(Ended::Output(output.context("failed to start cargo")?)),
        Err(_) => Ok(Ended::Other(Notice::Hang)),
    }
}

/// What cargo has built already for this tree serves the copy too, but for our own packages.
fn target(folder: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    Ok(fs::canonicalize(folder)?)
}

/// Brings the copy to what the tree is, and leaves alone what is the same, so that cargo does too.
async fn copy() -> Result<()> {
    let listed =
        Command::new("git").args(["ls-files", "-z"]).output().await.context("failed to start git")?;
    ensure!(listed.status.success(), "git knows no files here");
    for file in String::from_utf8(listed.stdout)?.split('\0').filter(|file| !file.is_empty()) {
        let copy = Path::new(TREE).join(file);
        let content = fs::read(file).with_context(|| format!("failed to read {file}"))?;
        if fs::read(&copy).ok().as_ref() != Some(&content) {
            fs::create_dir_all(copy.parent().unwrap_or(Path::new(TREE)))?;
            fs::write(&copy, content).with_context(|| format!("failed to write {}", copy.display()))?;
        }
    }
    Ok(())
}

async fn apply(patch: &Path) -> Result<()> {
    let mut command = Command::new("git");
    // In a repository, it would look for the files from the root of that.
    command.arg("apply").arg(patch).current_dir(TREE).env("GIT_DIR", "none");
    let applied = command.output().await.context("failed to start git")?;
    ensure!(
        applied.status.success(),
        "it does not fit the tree any more: {}",
        String::from_utf8_lossy(&applied.stderr)
    );
    Ok(())
}
