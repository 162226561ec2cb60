//! Targets for libFuzzer: each is a function of bytes that panics if a law of weft does not hold for them.
//!
//! A law says more than "no panic": what it promises is in the first line of each target's file.

// The tests in the files that are shared run where these belong; those of the targets are tests/fuzz.rs.
#![cfg(not(test))]

mod answer;
mod bindings;
#[path = "../../../host/core/tests/support/cases.rs"]
#[expect(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "shared with the tests of the core, which use more of it"
)]
mod cases;
mod configuration;
mod guest;
#[path = "../../../host/core/tests/support/lies.rs"]
#[expect(dead_code, reason = "shared with the tests of the core, which use more of it")]
mod lies;
mod names;
mod object;
#[path = "../../../host/core/tests/support/servers.rs"]
#[expect(clippy::panic, reason = "a test fails by panicking")]
mod servers;
#[path = "../../../host/src"]
#[expect(dead_code, unused_imports, unreachable_pub, reason = "the shell uses more of these files")]
#[expect(
    clippy::disallowed_methods,
    clippy::doc_markdown,
    reason = "the core has other settings of clippy than the shell"
)]
mod shell {
    //! Files of the shell that read what others write. The whole of it would bring along all that it runs on.

    pub(crate) mod config;
    pub(crate) mod plugin {
        use weft_core::extension::{Answer, Failure};

        use self::bindings::weft::mapping::types;
        use crate::registry::descriptor::Descriptor;

        pub(crate) use crate::bindings;
        mod convert;

        /// The plugin that returns everything.
        pub(crate) const GUEST: &str = "guest";

        pub(crate) fn convert_answer(outcome: &types::Outcome) -> Result<Answer, Failure> {
            convert::answer(GUEST, outcome)
        }

        pub(crate) fn convert_descriptor(descriptor: types::Descriptor) -> Descriptor {
            convert::descriptor(descriptor)
        }
    }
    pub(crate) mod registry {
        pub(crate) mod descriptor;
        mod permissions;
    }
    pub(crate) mod yaml;
}
use shell::{config, plugin, registry, yaml};
mod watch;
#[path = "../../../host/src/engine/informer/wire.rs"]
#[expect(dead_code, reason = "the engine reads more of it")]
mod wire;

// What is instrumented reports to libFuzzer, the tests of this package too.
use libfuzzer_sys as _;

/// A target: its name, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("answer", answer::target),
    ("configuration", configuration::target),
    ("guest", guest::target),
    ("names", names::target),
    ("object", object::target),
    ("watch", watch::target),
];

/// The target of this name.
pub fn by_name(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(one, _)| *one == name).map(|(_, target)| *target)
}
