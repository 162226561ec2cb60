//! Tools for authors of plugins: translate without a cluster, trace, record and compare cases, measure.
//!
//! Here `anyhow` is allowed: errors are read by the person who runs the command.

pub mod bench;
pub mod cases;
pub mod encode;
pub mod trace;
pub mod workbench;
