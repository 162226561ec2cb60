//! `cargo demo`: a host and a virtual control plane on this machine, with the nginx example in between.
//!
//! It stays until Ctrl-C; with `--once` it ends by itself, successfully only if both sides agree.

mod node;
mod screen;
mod sides;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use weft_tests::arguments::arguments;
use weft_tests::plugin_folder;
use weft_tests::process::tail;
use weft_tests::progress::Progress;
use weft_tests::scratch;
use weft_tests::world::{Options, World};

use crate::sides::Sides;

/// How long the example may take; it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(200);

/// What a shell reports for a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Starts a host and a virtual control plane on this machine, and shows a virtual cluster at work.
#[derive(Debug, Parser)]
struct Arguments {
    /// Exit once both sides agree, with code 0, or fail.
    #[arg(long)]
    once: bool,
    /// On a real node with real containers, installed by the commands a person types. Needs root.
    #[arg(long, conflicts_with = "plugin")]
    node: bool,
    /// Folder of plugins, `<name>.wasm` each: they are loaded at once, with all grants that they request.
    #[arg(long, value_name = "FOLDER")]
    plugin: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse_from(arguments());
    let outcome = tokio::select! {
        outcome = demo(&arguments) => outcome.map(|()| ExitCode::SUCCESS),
        // Dropping the demo ends every process it started.
        () = interrupted() => Ok(ExitCode::from(INTERRUPTED)),
    };
    // The logs are wanted where something has failed.
    report(outcome.and_then(|code| scratch::sweep().map(|()| code)))
}

async fn demo(arguments: &Arguments) -> Result<()> {
    if arguments.node {
        return on_node(arguments.once).await;
    }
    let mut options = Options::build().await?;
    if let Some(folder) = &arguments.plugin {
        options.config = plugins(folder)?;
    }
    let world = start(options).await?;
    deploy(&world).await?;
    let sides = settle(&world).await?;
    screen::show(&world, &sides);
    if !arguments.once {
        screen::how_to_connect(&world);
        match &arguments.plugin {
            Some(folder) => map_until_interrupted(&world, folder).await,
            None => interrupted().await,
        }
        screen::goodbye();
    }
    Ok(())
}

/// What the folder of plugins needs on the host is granted as it changes.
async fn map_until_interrupted(world: &World, folder: &Path) {
    screen::how_to_map(world, folder);
    tokio::select! {
        () = plugin_folder::grant(world.tenant(), folder, screen::granted) => {}
        () = interrupted() => {}
    }
}

async fn on_node(once: bool) -> Result<()> {
    if let Some(obstacle) = weft_tests::node::obstacle().await {
        bail!("a real node cannot run here: {obstacle}");
    }
    let node = node::start(&example()).await?;
    if !once {
        interrupted().await;
        screen::goodbye();
    }
    node.stop().await
}

/// The part of the configuration that loads what is in `folder`, now and whenever it changes.
fn plugins(folder: &Path) -> Result<Value> {
    std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let folder = folder.canonicalize().with_context(|| format!("failed to find {}", folder.display()))?;
    let cache = weft_tests::binaries::cache("compiled")?;
    Ok(json!({"plugins": {"folder": folder, "cache": cache, "grants": "requested"}}))
}

async fn start(options: Options) -> Result<World> {
    let progress = Progress::start("starting a host and a virtual control plane");
    let world = World::without_syncer(options).await?;
    progress.done("");
    let progress = Progress::start("starting the syncer");
    world.tenant().start_syncer().await?;
    progress.done("");
    Ok(world)
}

async fn deploy(world: &World) -> Result<()> {
    let progress = Progress::start("applying examples/nginx to the virtual cluster");
    let folder = example();
    let folder = folder.to_str().context("the path of the example is not UTF-8")?;
    world.tenant().virtual_plane().kubectl(&["apply", "-f", folder], "").await?;
    progress.done("");
    Ok(())
}

/// Waits until the example is complete and both sides agree.
async fn settle(world: &World) -> Result<Sides> {
    let mut progress = Progress::start("waiting until both sides agree");
    let started = Instant::now();
    loop {
        let sides = Sides::read(world).await?;
        if sides.problems.is_empty() {
            progress.done("");
            return Ok(sides);
        }
        progress.update(&sides.summary());
        if started.elapsed() > PATIENCE {
            screen::show(world, &sides);
            bail!("the two sides do not agree; {}", tail(&world.tenant().syncer_log()));
        }
        world.tenant().syncer()?.check()?;
        tokio::time::sleep(POLL).await;
    }
}

/// Returns on Ctrl-C, or on a signal to end.
async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn report(outcome: Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        screen::failed(&error);
        ExitCode::FAILURE
    })
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nginx")
}
