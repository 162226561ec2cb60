//! Has foreign bytes compiled and foreign schemas applied in a child process, which is ended when it takes too much.
//!
//! A compiler and a validator have no deadline: what is begun in this process ends when it ends, and its memory is this
//! process's. A child is this program again with a command of its own; it bounds itself (`apart/bounds.rs`) before it
//! reads anything, and is killed by the clock.

mod bounds;

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The command of the program that does the work.
pub const COMMAND: &str = "apart";
/// Bytes of an answer.
const ANSWER: u64 = 256 * 1024;
/// Cores that one compilation uses: each takes memory for the function that it is at.
const CORES: &str = "2";

/// Where the work is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workplace {
    /// In this process, without bounds: for measurements, and for tests whose components are their own.
    Here,
    /// In a child process, which is this program.
    Child(PathBuf),
}

/// What a child does with its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Compiles the component and holds it against the interface; the folder gets the result.
    Compile {
        /// Where compiled components are kept.
        cache: Option<PathBuf>,
        /// Whether WASI stubs are offered.
        wasi: bool,
    },
    /// Holds settings against their schema.
    Settings,
}

/// What comes of compiling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compiled {
    /// It is done.
    Fits,
    /// The component cannot be compiled.
    Compile(String),
    /// The component has so many bytes of machine code, too many.
    Image(usize),
    /// The component does not fit the interface.
    Link(String),
}

/// What comes of settings and their schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settings {
    /// They fit it.
    Fit,
    /// The schema is none.
    Schema(String),
    /// What is wrong with the settings.
    Wrong(Vec<String>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The child was killed by the clock, or has used up its time on a processor.
    #[error("{doing} takes longer than {} s", .limit.as_secs())]
    Time {
        /// What it did.
        doing: &'static str,
        /// What it may take.
        limit: Duration,
    },
    /// The child got no more memory.
    #[error("{doing} takes more memory than {} MiB", .limit / 1024 / 1024)]
    Memory {
        /// What it did.
        doing: &'static str,
        /// What it may take.
        limit: u64,
    },
    /// The child has ended in another way.
    #[error("{doing} broke the process that did it: {status}")]
    Broken {
        /// What it did.
        doing: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// There is no child.
    #[error("failed to start the process for {doing}")]
    Start {
        /// What it was to do.
        doing: &'static str,
        /// Why it does not run.
        source: std::io::Error,
    },
}

/// What is given to a validator of settings.
#[derive(Debug, Serialize, Deserialize)]
pub struct SettingsInput {
    /// The schema, as the component has it.
    pub schema: String,
    /// The settings.
    pub settings: serde_json::Value,
}

impl Workplace {
    /// Children of the program that is running.
    pub fn this_program() -> Self {
        // A program of tests has no such command. The link works also where the file was replaced, or is the only one.
        if cfg!(test) { Self::Here } else { Self::Child(PathBuf::from("/proc/self/exe")) }
    }
}

impl Work {
    fn doing(&self) -> &'static str {
        match self {
            Self::Compile { .. } => "compiling it",
            Self::Settings => "applying its settings schema",
        }
    }

    /// Bounds the process that is to do this.
    ///
    /// # Errors
    /// The system refuses it: then nothing may be read.
    pub fn bound_this_process(&self) -> nix::Result<()> {
        bounds::apply(bounds::of(self))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(COMMAND);
        match self {
            Self::Compile { cache, wasi } => {
                command.arg("compile").args(wasi.then_some("--wasi"));
                if let Some(cache) = cache {
                    command.arg("--cache").arg(cache);
                }
            }
            Self::Settings => {
                command.arg("settings");
            }
        }
        // The allocator sets aside a gigabyte at its start, which would count as data.
        command.env_clear().env("MIMALLOC_ARENA_RESERVE", "0").env("RAYON_NUM_THREADS", CORES);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

/// Has `program` do `work` with `input`; it answers with an `A`, as JSON on its standard output.
///
/// # Errors
/// The work took too much.
pub(super) fn run<A: DeserializeOwned>(program: &Path, work: &Work, input: &[u8]) -> Result<A, Error> {
    let (doing, bounds) = (work.doing(), bounds::of(work));
    let start = |source| Error::Start { doing, source };
    let mut child = work.command(program).spawn().map_err(start)?;
    let text = exchange(&mut child, input, bounds.clock());
    let status = child.wait().map_err(start)?;
    let Some(text) = text else { return Err(Error::Time { doing, limit: bounds.clock() }) };
    match (serde_json::from_slice(&text), status.signal().and_then(|signal| Signal::try_from(signal).ok())) {
        (Ok(answer), None) if status.success() => Ok(answer),
        (_, Some(Signal::SIGXCPU)) => Err(Error::Time { doing, limit: bounds.time }),
        // Allocation in Rust fails by SIGABRT; the kernel, short of memory for all, kills.
        (_, Some(Signal::SIGABRT | Signal::SIGKILL)) => Err(Error::Memory { doing, limit: bounds.memory }),
        _ => Err(Error::Broken { doing, status }),
    }
}

/// Writes `input` to the child and reads its answer; none if that takes longer than `limit`.
fn exchange(child: &mut Child, input: &[u8], limit: Duration) -> Option<Vec<u8>> {
    let (mut stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        scope.spawn(move || {
            // A child that ends early has said why, or its status does.
            let _ = stdin.write_all(input);
            drop(stdin);
            let mut text = Vec::new();
            let _ = stdout.take(ANSWER).read_to_end(&mut text);
            let _ = sender.send(text);
        });
        let text = receiver.recv_timeout(limit).ok();
        if text.is_none() {
            // The pipes close with it, and so the thread ends.
            let _ = child.kill();
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a program that is no `weft`: a shell script.
    fn ran(script: &str, limit: Duration) -> (Option<Vec<u8>>, ExitStatus) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let text = exchange(&mut child, &vec![b'x'; 1024 * 1024], limit);
        (text, child.wait().unwrap())
    }

    #[test]
    fn a_child_is_written_to_and_read_and_one_that_does_not_end_is_killed() {
        let long = Duration::from_mins(1);
        assert_eq!(ran("cat | wc -c", long).0.unwrap().trim_ascii(), b"1048576");
        assert_eq!(ran("exit 3", long).1.code(), Some(3));
        let (text, status) = ran("exec sleep 600", Duration::from_millis(50));
        assert_eq!((text, status.signal()), (None, Some(9)));
    }

    #[test]
    fn a_program_that_is_not_there_or_answers_nothing_is_an_error() {
        let error = |program: &str| {
            run::<Settings>(Path::new(program), &Work::Settings, b"{}").unwrap_err().to_string()
        };
        assert!(error("/nowhere/weft").starts_with("failed to start the process for applying its settings"));
        assert!(error("/bin/false").contains("broke the process"));
    }

    #[test]
    fn the_environment_of_a_child_is_ours_alone() {
        let cache = Some(PathBuf::from("/cache"));
        let command = Work::Compile { cache, wasi: true }.command(Path::new("weft"));
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["apart", "compile", "--wasi", "--cache", "/cache"]);
        assert_eq!(command.get_envs().count(), 2);
    }
}
