//! Plugins: tests without a cluster where that is enough, and tests with two real API servers.

mod bench;
#[expect(dead_code, reason = "each program of tests uses some of it")]
#[path = "../../../host/tests/support/bomb.rs"]
mod bomb;
mod cases;
mod commands;
mod deeds;
mod events;
mod fixtures;
mod guard;
mod limits;
mod loading;
mod lookups;
mod parity;
mod planes;
mod printing;
pub(crate) mod unloadable;
mod verdicts;
