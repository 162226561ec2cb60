//! Plugins: a bench without any cluster where that is enough, and two real API servers where it is not.

mod bench;
mod cases;
mod commands;
mod fixtures;
mod guard;
mod limits;
mod loading;
mod parity;
mod planes;
mod reading;
mod telling;
pub(crate) mod unloadable;
mod verdicts;
