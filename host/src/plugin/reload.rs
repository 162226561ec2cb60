//! One attempt to load a version of a plugin, off the threads that others wait for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weft_core::digest;
use weft_core::extension::Failure;
use weft_core::names::Names;
use weft_core::verdict::Word;

use crate::config::Grants;
use crate::config::grants::Entry;
use crate::plugin::candidates::Candidate;
use crate::plugin::component::{self, Loaded, MAX_BYTES};
use crate::plugin::generation::{self, Generation};
use crate::plugin::metrics::Metrics;
use crate::plugin::sandbox::Sandbox;

/// A file that cannot be read as a component may still be being written: it is read again after these times.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

/// What is tried, and beside what.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) candidate: Candidate,
    /// In development a recorded call that fails is no reason to refuse a version.
    pub(super) grants: Grants,
    /// The version that is called now.
    pub(super) running: Option<Arc<Generation>>,
    /// Versions that were rolled back.
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
    /// What recorded calls answer now that they did not answer before; empty when nothing has changed.
    pub(super) changes: String,
}

/// Why a component is not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file is gone, or its permissions do not suffice.
    #[error("its file cannot be read")]
    Read(#[from] std::io::Error),
    /// It cannot be called.
    #[error(transparent)]
    Component(#[from] component::Error),
    /// It does not fit what the operator says of it.
    #[error(transparent)]
    Unfit(#[from] generation::Error),
    /// It was rolled back.
    #[error("this version failed on its first objects before")]
    Denied,
    /// It fails on what the version before it answered.
    #[error("a recorded call that was answered with `{was}` now fails: {failure}")]
    Replay {
        /// What the version before it answered.
        was: Word,
        /// What this one does.
        failure: Failure,
    },
    /// The attempt itself went wrong.
    #[error("the attempt failed")]
    Attempt(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether the file may be better in a moment.
    fn is_unfinished(&self) -> bool {
        use component::Error::{Compile, NotWasm};
        matches!(self, Self::Read(_) | Self::Component(NotWasm | Compile(_)))
    }
}

/// Tries to load a candidate; one that may still be being written is tried a few times.
///
/// # Errors
/// Why it cannot be called.
pub(super) async fn attempt(attempt: Attempt) -> Result<Tried, Error> {
    for pause in AGAIN {
        match once(attempt.clone()).await {
            Err(error) if error.is_unfinished() => tokio::time::sleep(pause).await,
            done => return done,
        }
    }
    once(attempt).await
}

async fn once(attempt: Attempt) -> Result<Tried, Error> {
    tokio::task::spawn_blocking(move || now(&attempt)).await?
}

fn now(attempt: &Attempt) -> Result<Tried, Error> {
    let Attempt { candidate, grants, running, .. } = attempt;
    let (loaded, entry) = load(&attempt.sandbox, candidate, *grants, running.as_deref())?;
    if let Some(running) = running
        && running.loaded.digest == loaded.digest
        && running.entry == entry
    {
        return Ok(Tried { generation: running.clone(), changes: String::new() });
    }
    let denied = Denied { digest: loaded.digest.clone(), entry: candidate.entry.clone() };
    if attempt.denied.contains(&denied) {
        return Err(Error::Denied);
    }
    let (sandbox, metrics) = (attempt.sandbox.clone(), attempt.metrics.clone());
    let generation = Arc::new(Generation::new(&candidate.name, loaded, entry, sandbox, metrics)?);
    let changes = match running {
        Some(running) => replay(attempt, running, &generation)?,
        None => String::new(),
    };
    Ok(Tried { generation, changes })
}

/// The component of a candidate, and its entry with what it is granted: all that it requests in development,
/// unless the entry is explicit. What is `running` is not compiled again when only its settings are new.
///
/// # Errors
/// The file is not that of a plugin of this name.
pub(crate) fn load(
    sandbox: &Sandbox,
    candidate: &Candidate,
    grants: Grants,
    running: Option<&Generation>,
) -> Result<(Loaded, Entry), Error> {
    let Candidate { name, found, entry } = candidate;
    let bytes = read(&found.path)?;
    let digest = digest::of_bytes(&bytes);
    let running =
        running.filter(|running| running.loaded.digest == digest && running.entry.wasi == entry.wasi);
    let loaded = match running {
        Some(running) => running.loaded.clone(),
        None => component::load(sandbox, &bytes, entry.wasi)?,
    };
    generation::check_name(name, &loaded)?;
    let entry = granted(&loaded, entry.clone(), grants);
    Ok((loaded, entry))
}

/// `entry`; in development with all that the component requests, unless the entry is explicit.
pub(crate) fn granted(loaded: &Loaded, entry: Entry, grants: Grants) -> Entry {
    match grants {
        Grants::Explicit => entry,
        Grants::Requested => loaded.descriptor.grant_unless_explicit(entry),
    }
}

/// The bytes of a file, unless there are too many.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let size = usize::try_from(std::fs::metadata(path)?.len()).unwrap_or(usize::MAX);
    if size > MAX_BYTES {
        return Err(component::Error::Size(size).into());
    }
    Ok(std::fs::read(path)?)
}

/// Replays the recent calls of `running` with the new version; returns what it answers differently.
fn replay(attempt: &Attempt, running: &Generation, new: &Generation) -> Result<String, Error> {
    let mut replayed = Replayed::default();
    for call in &running.recorder.calls() {
        match new.replay(&attempt.names, call) {
            Ok(answer) if answer == call.answer => replayed.same += 1,
            Ok(_) => replayed.different += 1,
            Err(failure) if attempt.grants == Grants::Explicit => {
                return Err(Error::Replay { was: Word::of(&call.answer.verdict), failure });
            }
            Err(_) => replayed.failing += 1,
        }
    }
    Ok(replayed.changes())
}

/// What became of recorded calls.
#[derive(Default)]
struct Replayed {
    same: usize,
    different: usize,
    failing: usize,
}

impl Replayed {
    /// Empty where nothing has changed.
    fn changes(&self) -> String {
        if self.different + self.failing == 0 {
            return String::new();
        }
        let parts = [
            (self.same, "answered as before"),
            (self.different, "answered differently"),
            (self.failing, "failing"),
        ];
        let parts =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        format!("; recent calls, replayed: {}", parts.collect::<Vec<_>>().join(", "))
    }
}
