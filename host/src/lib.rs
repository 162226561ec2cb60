//! The shell of weft: everything that touches the world.
//!
//! One object's journey: `engine/informer/follow.rs` sees it, `engine/queue.rs` hands its key out,
//! `engine/reconcile/syncer.rs` sees both sides and asks the pure core (`weft_core`) what to do, and
//! `engine/apply.rs` writes. [`run`] puts the parts together.

pub mod addons;
pub mod api;
pub mod author;
mod bucket;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod engine;
pub mod folder;
pub mod kubelet;
pub mod permissions;
pub mod plugin;
pub mod registry;
pub mod run;
pub mod telemetry;
mod yaml;
