//! Foreign bytes are compiled, and foreign schemas applied, in a process that is ended: what a hostile component costs.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints what it measures"
)]

#[expect(dead_code, reason = "each program of tests uses some of it")]
mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use support::bomb;
use weft::config::grants::Entry;
use weft::plugin::apart::Workplace;
use weft::plugin::component::{self, Loaded};
use weft::plugin::generation::{self, Generation};
use weft::plugin::metrics::Metrics;
use weft::plugin::sandbox::Sandbox;

/// What this process may take in all, whatever it is given to load.
const MOST: u64 = 200 * 1024 * 1024;

/// The plugin `team-label` 0.1.0.
fn good() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/mapping-0.1.0/team-label.wasm"))
        .unwrap()
}

fn program() -> Workplace {
    Workplace::Child(PathBuf::from(env!("CARGO_BIN_EXE_weft")))
}

fn sandbox(cache: Option<&Path>) -> Arc<Sandbox> {
    Arc::new(Sandbox::at(program(), cache).unwrap())
}

fn load(sandbox: &Sandbox, bytes: &[u8]) -> Result<Loaded, String> {
    component::load(sandbox, bytes, false).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

/// One bomb at a time, and the memory of this process after it.
fn alone<T>(deed: &str, run: impl FnOnce() -> T) -> T {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let done = run();
    let most = peak();
    println!("{deed}: at most {} MiB", most / 1024 / 1024);
    assert!(most < MOST, "{deed} took {} MiB of this process", most / 1024 / 1024);
    done
}

/// The most memory that this process has had (Linux: proc(5), `VmHWM`).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn settled(sandbox: &Arc<Sandbox>, loaded: Loaded, entry: Value) -> Result<Generation, generation::Error> {
    let entry: Entry = serde_json::from_value(entry).unwrap();
    let entry = loaded.descriptor.grant_all(entry);
    Generation::new("team-label", loaded, entry, sandbox.clone(), Arc::new(Metrics::default()))
}

#[test]
fn a_good_component_is_loaded_as_it_is_without_a_child() {
    let here = load(&Sandbox::new(None).unwrap(), &good()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    for cache in [None, Some(cache.as_path())] {
        let sandbox = sandbox(cache);
        let apart = load(&sandbox, &good()).unwrap();
        assert_eq!(
            (&apart.digest, apart.size, &apart.imports, &apart.descriptor),
            (&here.digest, here.size, &here.imports, &here.descriptor)
        );
        let settled = settled(&sandbox, apart, json!({"settings": {"team": "web"}}));
        assert_eq!(settled.err().map(|error| error.to_string()), None);
    }
    let kept = std::fs::read_dir(cache.join("modules")).unwrap().count();
    assert_eq!(kept, 1, "the child leaves what it has compiled");
}

#[test]
fn what_cannot_be_compiled_or_linked_is_said_as_without_a_child() {
    let mut half = good();
    half.extend(bomb::section(1, b"\0asm\x01\0\0\0\x0a\x03\x01\x01\xff"));
    let text = |sandbox: &Sandbox| load(sandbox, &half).err().unwrap();
    let (here, apart) = (text(&Sandbox::new(None).unwrap()), text(&sandbox(None)));
    assert!(apart.starts_with("it cannot be compiled: "), "{apart}");
    assert_eq!(apart, here);
}

#[test]
fn a_component_that_takes_gigabytes_to_compile_is_refused() {
    let bytes = bomb::wide(&good());
    println!("a component of {} KB", bytes.len() / 1000);
    let why = alone("a compile bomb", || load(&sandbox(None), &bytes).err().unwrap());
    // Which of the two comes first depends on the machine.
    println!("{why}");
    assert!(why.starts_with("compiling it takes "), "{why}");
}

#[test]
fn a_schema_that_never_ends_is_refused() {
    let sandbox = sandbox(None);
    let mut loaded = load(&sandbox, &good()).unwrap();
    for (deed, schema) in [("a slow schema", bomb::slow_schema()), ("a large schema", bomb::large_schema())] {
        loaded.descriptor.settings_schema = Some(schema.to_string());
        let settings = json!({"settings": {"team": "web"}});
        let why = alone(deed, || settled(&sandbox, loaded.clone(), settings).err().unwrap().to_string());
        println!("{why}");
        assert!(why.starts_with("applying its settings schema takes "), "{why}");
    }
    loaded.descriptor.settings_schema = Some(" ".repeat(300 * 1024));
    let why = settled(&sandbox, loaded, json!({})).err().unwrap().to_string();
    assert!(why.contains("at most are read"), "{why}");
}
