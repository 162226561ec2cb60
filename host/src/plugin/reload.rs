//! One try to load a version of a plugin, off the threads that others wait for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weft_core::causes::causes;
use weft_core::digest;
use weft_core::names::Names;
use weft_core::verdict::Word;

use crate::config::grants::Entry;
use crate::plugin::component::{self, Loaded, MAX_BYTES};
use crate::plugin::generation::Generation;
use crate::plugin::metrics::Metrics;
use crate::plugin::sandbox::Sandbox;

/// A file that cannot be read as a component may still be being written: it is read again after these times.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

/// What is to be tried.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) entry: Entry,
    /// Grants what is asked for, and goes on where a recorded call fails.
    pub(super) is_development: bool,
    /// The version that is called now.
    pub(super) running: Option<Arc<Generation>>,
    /// What failed its trial.
    pub(super) denied: Vec<Denied>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) names: Names,
}

/// A version that failed on its first objects with what the operator said of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Denied {
    pub(super) digest: String,
    pub(super) entry: Entry,
}

/// A version that can be called: the one that runs already where nothing has changed.
pub(super) struct Tried {
    pub(super) generation: Arc<Generation>,
    /// What recorded calls say now that they did not say before; empty when nothing has changed.
    pub(super) changes: String,
}

enum Failed {
    /// It may be better in a moment.
    Unfinished(String),
    Final(String),
}

/// Tries it.
///
/// # Errors
/// One line that says why it cannot be called.
pub(super) async fn try_candidate(candidate: Candidate) -> Result<Tried, String> {
    for pause in AGAIN {
        match try_once(candidate.clone()).await {
            Err(Failed::Unfinished(_)) => tokio::time::sleep(pause).await,
            Err(Failed::Final(why)) => return Err(why),
            Ok(tried) => return Ok(tried),
        }
    }
    try_once(candidate).await.map_err(|failed| match failed {
        Failed::Unfinished(why) | Failed::Final(why) => why,
    })
}

async fn try_once(candidate: Candidate) -> Result<Tried, Failed> {
    let tried = tokio::task::spawn_blocking(move || try_now(&candidate)).await;
    tried.unwrap_or_else(|error| Err(Failed::Final(format!("trying it failed: {error}"))))
}

fn try_now(candidate: &Candidate) -> Result<Tried, Failed> {
    let loaded = load(candidate)?;
    let mut entry = candidate.entry.clone();
    if candidate.is_development {
        entry = loaded.descriptor.grant_unless_explicit(entry);
    }
    if let Some(running) = &candidate.running
        && running.loaded.digest == loaded.digest
        && running.entry == entry
    {
        return Ok(Tried { generation: running.clone(), changes: String::new() });
    }
    let denied = Denied { digest: loaded.digest.clone(), entry: candidate.entry.clone() };
    if candidate.denied.contains(&denied) {
        return Err(Failed::Final("this version failed on its first objects before".to_owned()));
    }
    let (sandbox, metrics) = (candidate.sandbox.clone(), candidate.metrics.clone());
    let generation = Generation::new(&candidate.name, loaded, entry, sandbox, metrics);
    let generation = Arc::new(generation.map_err(|error| Failed::Final(causes(&error)))?);
    let changes = match &candidate.running {
        Some(running) => replay(candidate, running, &generation).map_err(Failed::Final)?,
        None => String::new(),
    };
    Ok(Tried { generation, changes })
}

/// The component in the file; what is running is not compiled again when only its settings are new.
fn load(candidate: &Candidate) -> Result<Loaded, Failed> {
    let bytes = read(&candidate.path)?;
    let digest = digest::of_bytes(&bytes);
    let running = candidate
        .running
        .as_ref()
        .filter(|running| running.loaded.digest == digest && running.entry.wasi == candidate.entry.wasi);
    if let Some(running) = running {
        return Ok(running.loaded.clone());
    }
    component::load(&candidate.sandbox, &bytes, candidate.entry.wasi).map_err(|error| {
        let why = causes(&error);
        match error {
            component::Error::NotWasm | component::Error::Compile(_) => Failed::Unfinished(why),
            _ => Failed::Final(why),
        }
    })
}

/// The bytes of a file, unless there are too many.
fn read(path: &Path) -> Result<Vec<u8>, Failed> {
    let unreadable = |error: std::io::Error| Failed::Unfinished(format!("its file cannot be read: {error}"));
    let size = usize::try_from(std::fs::metadata(path).map_err(unreadable)?.len()).unwrap_or(usize::MAX);
    if size > MAX_BYTES {
        return Err(Failed::Final(component::Error::Size(size).to_string()));
    }
    std::fs::read(path).map_err(unreadable)
}

/// Tries the new version on the calls of late. Gives what it answers differently.
fn replay(candidate: &Candidate, running: &Generation, new: &Generation) -> Result<String, String> {
    let calls = running.recorder.calls();
    let (mut same, mut other, mut failed) = (0, 0, 0);
    for call in &calls {
        match new.replay(&candidate.names, call) {
            Ok(answer) if answer == call.answer => same += 1,
            Ok(_) => other += 1,
            Err(failure) if !candidate.is_development => {
                let was = Word::of(&call.answer.verdict);
                return Err(format!("a recorded call that was answered with `{was}` now fails: {failure}"));
            }
            Err(_) => failed += 1,
        }
    }
    if other + failed == 0 {
        return Ok(String::new());
    }
    let parts = [(same, "answered as before"), (other, "answered in another way"), (failed, "failing")];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let parts: Vec<String> = parts.collect();
    Ok(format!("; calls of late, tried again: {}", parts.join(", ")))
}
