//! The shell of weft: everything that touches the world.
//!
//! One object's journey: `engine/watch.rs` sees it, `engine/queue.rs` hands its key out,
//! `engine/syncer.rs` looks at both sides and asks the pure core (`weft_core`) what to do, and
//! `engine/apply.rs` writes. [`run`] puts the parts together.

pub mod api;
mod bucket;
pub mod cli;
pub mod config;
pub mod engine;
pub mod folder;
pub mod health;
pub mod news;
pub mod plugin;
pub mod registry;
pub mod rules;
pub mod run;
pub mod telemetry;
mod yaml;
