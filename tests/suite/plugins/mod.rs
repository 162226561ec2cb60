//! Plugins: tests without a cluster where that is enough, and tests with two real API servers.

mod bench;
mod cases;
mod commands;
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
