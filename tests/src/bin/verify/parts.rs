//! The list of parts, what each runs, and what a machine may lack for it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use weft_tests::{cargo, node};

use crate::failures::Failures;

/// One thing to verify: a cargo command.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// The arguments of cargo.
    pub(crate) arguments: &'static [&'static str],
    /// Additions to the environment.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Whether it starts control planes.
    pub(crate) needs_planes: bool,
    /// Whether it starts a real node.
    pub(crate) needs_node: bool,
    /// Whether a few of its tests that fail get a second try: see [`AGAIN`].
    pub(crate) tries_again: bool,
    /// The cargo subcommand that must be installed for it, with how to get it.
    tool: Option<(&'static str, &'static str)>,
}

const PLAIN: Part = Part {
    name: "",
    arguments: &[],
    environment: &[],
    needs_planes: false,
    needs_node: false,
    tries_again: false,
    tool: None,
};

/// What cargo is asked for a second try, before the names of the tests. Hundreds of tests drive real servers on a machine that is
/// crowded by them: one that passes alone says that there is a race, not that the change is wrong. It is reported, to be mended.
pub(crate) const AGAIN: &[&str] =
    &["test", "--package", "weft-tests", "--", "--include-ignored", "--test-threads", "1", "--exact"];
/// If more tests have failed, it is no accident.
pub(crate) const FEW: usize = 3;

/// The workspace of guests.
const PLUGINS: &str = "plugins/Cargo.toml";

/// In the order in which they run: quick answers first.
pub(crate) const PARTS: &[Part] = &[
    Part { name: "fmt", arguments: &["fmt", "--all", "--check"], ..PLAIN },
    Part {
        name: "clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        ..PLAIN
    },
    // Alone, so that its manifest is seen to be enough.
    Part { name: "core", arguments: &["check", "--package", "weft-core"], ..PLAIN },
    Part { name: "test", arguments: &["test", "--package", "weft-core", "--package", "weft"], ..PLAIN },
    // Cargo has all but this workspace's own packages from the part before, if it is asked for those of the same features.
    Part {
        name: "fuzz",
        arguments: &[
            "test",
            "--package",
            "weft-core",
            "--package",
            "weft",
            "--package",
            "weft-fuzz",
            "--test",
            "fuzz",
            "--",
            "--include-ignored",
            "--test-threads",
            "2",
        ],
        environment: &[(
            "RUSTC_WORKSPACE_WRAPPER",
            concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/instrument.sh"),
        )],
        ..PLAIN
    },
    Part { name: "plugins", arguments: &["test", "--manifest-path", PLUGINS, "--locked"], ..PLAIN },
    Part {
        name: "plugins-clippy",
        arguments: &[
            "clippy",
            "--manifest-path",
            PLUGINS,
            "--locked",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        ..PLAIN
    },
    Part {
        name: "plugins-fmt",
        arguments: &["fmt", "--manifest-path", PLUGINS, "--all", "--check"],
        ..PLAIN
    },
    Part {
        name: "planes",
        // More threads than processors: these tests mostly wait for servers. The faults are a part of their own.
        arguments: &[
            "test",
            "--package",
            "weft-tests",
            "--no-fail-fast",
            "--",
            "--skip",
            "faults::",
            "--test-threads",
            "8",
        ],
        needs_planes: true,
        tries_again: true,
        ..PLAIN
    },
    Part {
        name: "faults",
        arguments: &[
            "test",
            "--package",
            "weft-tests",
            "--test",
            "suite",
            "--",
            "faults::",
            "--test-threads",
            "8",
        ],
        needs_planes: true,
        tries_again: true,
        ..PLAIN
    },
    // Compiles the engine a second time: see `tests/src/bin/simulate/build.rs`.
    Part { name: "simulate", arguments: &["simulate", "--seeds", "100000", "--at-most", "5"], ..PLAIN },
    Part {
        name: "nodes",
        // Few at a time: each starts virtual clusters on the one node.
        arguments: &[
            "test",
            "--package",
            "weft-tests",
            "--test",
            "suite",
            "--",
            "nodes::",
            "--ignored",
            "--test-threads",
            "2",
        ],
        needs_planes: true,
        needs_node: true,
        tries_again: true,
        ..PLAIN
    },
    Part { name: "demo", arguments: &["demo", "--once"], needs_planes: true, ..PLAIN },
    Part {
        name: "doc",
        arguments: &["doc", "--no-deps", "--workspace"],
        environment: &[("RUSTDOCFLAGS", "-Dwarnings")],
        ..PLAIN
    },
    Part {
        name: "deny",
        arguments: &["deny", "check", "licenses", "bans", "sources"],
        tool: Some(("deny", "cargo-deny is not installed (cargo install cargo-deny)")),
        ..PLAIN
    },
];

impl Part {
    /// What this machine lacks for it, if anything.
    pub(crate) async fn obstacle(&self) -> Option<String> {
        if self.needs_planes && !go_is_usable() {
            return Some("Go is not installed, and WEFT_KUBERNETES and WEFT_PLANES are not set".to_owned());
        }
        if self.needs_node
            && let Some(reason) = node::obstacle().await
        {
            return Some(reason);
        }
        let (tool, advice) = self.tool?;
        let mut probe = cargo::command();
        probe.args([tool, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        let installed = probe.status().await.is_ok_and(|status| status.success());
        (!installed).then(|| advice.to_owned())
    }
}

/// How one part went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) part: &'static Part,
    pub(crate) took: Duration,
    pub(crate) result: Kind,
    pub(crate) failures: Failures,
}

/// Passed, or why not.
#[derive(Debug)]
pub(crate) enum Kind {
    Passed,
    /// Every test that had failed passed when it was tried again.
    PassedAgain,
    Skipped(String),
    Failed(String),
}

impl Outcome {
    /// Whether it failed.
    pub(crate) fn failed(&self) -> bool {
        matches!(self.result, Kind::Failed(_))
    }
}

/// Finds a part for the command line.
pub(crate) fn by_name(name: &str) -> Result<&'static Part, String> {
    let names = || PARTS.iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
    let found = PARTS.iter().find(|part| part.name == name);
    found.ok_or_else(|| format!("there is no such part; there are {}", names()))
}

/// Whether control planes can be had at all.
pub(crate) fn go_is_usable() -> bool {
    let mut probe = std::process::Command::new("go");
    probe.arg("version").stdout(Stdio::null()).stderr(Stdio::null());
    let ready = ["WEFT_KUBERNETES", "WEFT_PLANES"].iter().all(|name| std::env::var_os(name).is_some());
    ready || probe.status().is_ok_and(|status| status.success())
}
