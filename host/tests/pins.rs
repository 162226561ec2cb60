//! What a component costs that is refused for its pin, its name or its interface: nothing, whatever is in it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints what it measures"
)]

#[expect(dead_code, reason = "each program of tests uses some of it")]
mod support;

use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};
use support::bomb;

/// Less than compiling the bomb takes, by far, and more than the program itself.
const MOST: i64 = 200 * 1024;

/// What `weft plugin list` prints of a folder with this component.
fn listed(file: &str, component: &[u8], load: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write(file, component);
    let plugins = json!({"folder": folder.path(), "grants": "requested", "load": load});
    let config = json!({"cluster": {"name": "a", "namespace": "b"}, "plugins": plugins});
    write("weft.yaml", config.to_string().as_bytes());
    let mut weft = Command::new(env!("CARGO_BIN_EXE_weft"));
    weft.args(["plugin", "list", "--config"]).arg(folder.path().join("weft.yaml"));
    let output = weft.output().unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// The most memory, in KiB, that a process has had which this one has started, or one which that has started and waited
/// for (Linux: getrusage(2), `RUSAGE_CHILDREN`).
fn most() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss()
}

/// The bomb with one name in it replaced by another of the same length.
fn renamed(bomb: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut renamed = bomb.to_vec();
    while let Some(place) = renamed.windows(from.len()).position(|window| window == from.as_bytes()) {
        renamed.splice(place..place + from.len(), to.bytes());
    }
    assert_ne!(renamed, bomb);
    renamed
}

#[test]
fn a_compile_bomb_that_is_refused_for_its_pin_name_or_interface_is_not_compiled() {
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/mapping-0.1.0/team-label.wasm");
    let bomb = bomb::wide(&std::fs::read(good).unwrap());
    let (log, mapper) = ("weft:mapping/log@0.1.0", "weft:mapping/mapper@0.1.0");
    let named = |from, to| renamed(&bomb, from, to);
    let pin = json!({"team-label": {"digest": format!("sha256:{}", "0".repeat(64))}});
    for (file, component, load, why) in [
        ("team-label.wasm", bomb.clone(), pin, "but `digest` pins sha256:00"),
        ("Team_Label.wasm", bomb.clone(), json!({}), "cannot be the name of a plugin"),
        ("team-label.wasm", named("@0.1.0", "@0.2.0"), json!({}), "it is built for weft:mapping 0.2.0"),
        ("team-label.wasm", named(mapper, "weft:mapping/mopper@0.1.0"), json!({}), "it does not export"),
        ("team-label.wasm", named(log, "evil:mapping/log@0.1.0"), json!({}), "is not offered to plugins"),
        ("team-label.wasm", named(log, "wasi:sockets/ab@0.2.10"), json!({}), "without WASI"),
    ] {
        let printed = listed(file, &component, &load);
        assert!(printed.contains(why), "{why:?} is missing: {printed}");
        println!("{why}: at most {} MiB in any process", most() / 1024);
        assert!(most() < MOST, "{why}: it took {} MiB", most() / 1024);
    }
    // The same bomb where nothing is wrong with these: a process that compiles it would have been seen above.
    let printed = listed("team-label.wasm", &bomb, &json!({}));
    assert!(printed.contains("compiling it takes"), "{printed}");
    println!("compiled: {} MiB in a process", most() / 1024);
    assert!(most() > MOST, "compiling the bomb took {} MiB, which proves nothing above", most() / 1024);
}
