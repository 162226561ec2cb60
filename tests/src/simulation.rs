//! Simulated runs of the syncer: the real engine between two model servers, on one thread and tokio's paused clock.
//!
//! A [`schedule::Schedule`] is drawn from a seed, and says what tenants, admins, servers and syncers do; [`run::run`] plays it.
//! Each write is judged by [`invariants`]; at the end, when nothing goes wrong any more, both sides must come in step and stay
//! silent. The same seed is the same run, bit for bit.

pub mod actions;
mod controllers;
pub mod exhaustive;
mod frames;
pub mod invariants;
mod link;
pub mod network;
pub mod parallel;
pub mod run;
pub mod schedule;
mod settled;
pub mod shrink;
mod tokens;
pub mod world;
