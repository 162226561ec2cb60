//! One attempt to load a version of a plugin, off the threads that others wait for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft_core::digest;
use weft_core::extension::Failure;
use weft_core::names::{Names, is_dns_label};
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

/// A version that failed on its first objects, with the entry that it had.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Denied {
    pub(super) digest: String,
    pub(super) entry: Entry,
    /// How many calls failed, and the first failure.
    pub(super) failures: String,
}

impl Denied {
    /// Whether it is this version with this entry.
    pub(super) fn is(&self, digest: &str, entry: &Entry) -> bool {
        self.digest == digest && self.entry == *entry
    }
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
    /// The name of the file cannot be that of a descriptor.
    #[error("{0:?} cannot be the name of a plugin: use lower-case letters, digits and `-`")]
    Name(String),
    /// The file is gone, or its permissions do not suffice.
    #[error("its file cannot be read")]
    Read(#[from] std::io::Error),
    /// It cannot be called.
    #[error(transparent)]
    Component(#[from] component::Error),
    /// It does not fit the operator's entry.
    #[error(transparent)]
    Unfit(#[from] generation::Error),
    /// It was rolled back.
    #[error("this version failed on its first objects before: {failures}")]
    Denied {
        /// How many calls failed, and the first failure.
        failures: String,
    },
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
    if let Some(denied) = attempt.denied.iter().find(|denied| denied.is(&loaded.digest, &candidate.entry)) {
        return Err(Error::Denied { failures: denied.failures.clone() });
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
    // Whatever is in it says another name.
    if !is_dns_label(name) {
        return Err(Error::Name(name.clone()));
    }
    let bytes = read(&found.path)?;
    let digest = digest::of_bytes(&bytes);
    // Nothing of a file is read that is not the operator's.
    generation::check_digest(&digest, entry)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::chain::Chain;
    use weft_core::kinds;
    use weft_core::object::Kind;

    use crate::plugin::files;
    use crate::plugin::testing::{MODULE, component, generation, names, newer, pod_to_host, sandbox, team};
    use crate::registry::Plugin as _;

    /// A folder with these bytes as the component of a plugin, and the candidate that it is.
    fn candidate(bytes: &[u8], entry: Entry) -> (tempfile::TempDir, Candidate) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("team-label.wasm"), bytes).unwrap();
        let found = files::list(folder.path()).unwrap()["team-label"].clone();
        (folder, Candidate { name: "team-label".to_owned(), found, entry })
    }

    /// What comes of trying these bytes where `running` is called.
    fn tried(
        bytes: &[u8],
        entry: Entry,
        grants: Grants,
        running: Option<&Arc<Generation>>,
        denied: Vec<Denied>,
    ) -> Result<Tried, Error> {
        let (_folder, candidate) = candidate(bytes, entry);
        let (sandbox, metrics) = (sandbox(), Arc::new(Metrics::default()));
        now(&Attempt {
            candidate,
            grants,
            running: running.cloned(),
            denied,
            sandbox,
            metrics,
            names: names(),
        })
    }

    /// A version that has mapped a pod, which it remembers.
    fn called() -> Arc<Generation> {
        let generation = Arc::new(generation(&component(), team("web")).unwrap());
        let builtin = kinds::builtin();
        let pods = builtin.iter().find(|mapper| mapper.spec().resource.kind() == Kind::new("v1/Pod"));
        let mut chain = Chain::new(pods.unwrap().clone());
        chain.followed_by(generation.clone().extension(&generation.loaded.descriptor.mappings[0]));
        assert_eq!(pod_to_host(&chain).unwrap().label("team"), Some("web"));
        assert_eq!(generation.recorder.calls().len(), 1);
        generation
    }

    #[test]
    fn what_runs_already_is_the_same_object() {
        let running = called();
        let again = tried(&component(), team("web"), Grants::Explicit, Some(&running), Vec::new()).unwrap();
        assert!(Arc::ptr_eq(&again.generation, &running) && again.changes.is_empty());
    }

    #[test]
    fn recent_calls_are_replayed_and_what_is_answered_differently_is_reported() {
        let running = called();
        let newer = tried(&newer(), team("web"), Grants::Explicit, Some(&running), Vec::new()).unwrap();
        assert_eq!(newer.changes, "");
        let other = tried(&component(), team("shop"), Grants::Explicit, Some(&running), Vec::new()).unwrap();
        assert_eq!(other.changes, "; recent calls, replayed: 1 answered differently");
    }

    #[test]
    fn replayed_calls_are_reported_by_what_came_of_them() {
        let changes = |same, different, failing| Replayed { same, different, failing }.changes();
        assert_eq!(changes(3, 0, 0), "");
        assert_eq!(
            changes(3, 2, 1),
            "; recent calls, replayed: 3 answered as before, 2 answered differently, 1 failing"
        );
        assert_eq!(changes(0, 0, 4), "; recent calls, replayed: 4 failing");
    }

    #[test]
    fn a_version_that_was_rolled_back_is_denied_with_the_same_entry_alone() {
        let digest = digest::of_bytes(&component());
        let denied = || vec![Denied { digest: digest.clone(), entry: team("web"), failures: String::new() }];
        let error = tried(&component(), team("web"), Grants::Explicit, None, denied()).err().unwrap();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert!(tried(&component(), team("shop"), Grants::Explicit, None, denied()).is_ok());
        assert!(tried(&newer(), team("web"), Grants::Explicit, None, denied()).is_ok());
    }

    #[test]
    fn in_development_a_component_gets_what_it_requests_unless_its_entry_is_explicit() {
        let bare = Entry { kinds: Vec::new(), ..team("web") };
        let loaded = tried(&component(), bare.clone(), Grants::Requested, None, Vec::new()).unwrap();
        assert_eq!(loaded.generation.entry.kinds, ["v1/Pod"]);
        let error = tried(&component(), bare, Grants::Explicit, None, Vec::new()).err().unwrap();
        assert!(matches!(error, Error::Unfit(generation::Error::Grants { .. })), "{error}");
    }

    #[test]
    fn only_a_file_that_may_be_better_in_a_moment_is_unfinished() {
        let error =
            |bytes: &[u8]| tried(bytes, team("web"), Grants::Explicit, None, Vec::new()).err().unwrap();
        let half = &component()[..component().len() / 2];
        assert!(error(b"").is_unfinished() && error(half).is_unfinished());
        assert!(!error(MODULE).is_unfinished() && !Error::Denied { failures: String::new() }.is_unfinished());
        let (folder, candidate) = candidate(b"", team("web"));
        drop(folder);
        let gone = load(&sandbox(), &candidate, Grants::Explicit, None).err().unwrap();
        assert!(gone.is_unfinished() && gone.to_string() == "its file cannot be read", "{gone}");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let (_folder, candidate) = candidate(b"", team("web"));
        let file = std::fs::File::create(&candidate.found.path).unwrap();
        file.set_len(MAX_BYTES as u64 + 1).unwrap();
        let error = load(&sandbox(), &candidate, Grants::Explicit, None).err().unwrap();
        assert!(matches!(error, Error::Component(component::Error::Size(size)) if size == MAX_BYTES + 1));
    }

    #[test]
    fn nothing_is_read_of_a_file_that_is_not_the_pinned_one() {
        let pinned = Entry { digest: Some(digest::of_bytes(&component())), ..team("web") };
        for bytes in [&b"no WebAssembly at all"[..], &newer()] {
            let (_folder, candidate) = candidate(bytes, pinned.clone());
            let error = load(&sandbox(), &candidate, Grants::Explicit, None).err().unwrap();
            assert!(matches!(error, Error::Unfit(generation::Error::Digest { .. })), "{error}");
        }
        let (_folder, candidate) = candidate(&component(), pinned);
        assert!(load(&sandbox(), &candidate, Grants::Explicit, None).is_ok());
    }

    #[test]
    fn a_file_whose_name_no_plugin_can_have_is_not_read() {
        let (folder, candidate) = candidate(b"", team("web"));
        drop(folder);
        let candidate = Candidate { name: "Team_Label".to_owned(), ..candidate };
        let error = load(&sandbox(), &candidate, Grants::Explicit, None).err().unwrap();
        assert!(matches!(error, Error::Name(_)) && !error.is_unfinished(), "{error}");
    }

    #[test]
    fn a_file_of_another_plugin_is_refused_with_the_name_that_it_should_have() {
        let (_folder, candidate) = candidate(&component(), team("web"));
        let candidate = Candidate { name: "other".to_owned(), ..candidate };
        let error = load(&sandbox(), &candidate, Grants::Explicit, None).err().unwrap().to_string();
        assert_eq!(
            error,
            "its descriptor is named \"team-label\"; the file of that plugin is team-label.wasm"
        );
    }
}
