//! Tools for authors of plugins: translate without a cluster, trace, record and compare cases, measure.
//!
//! `anyhow` is allowed here, because the person who runs the command reads the errors.

pub mod bench;
pub mod cases;
pub mod encode;
pub mod trace;
pub mod workbench;
