//! Rules that are WebAssembly components: loaded, checked against what the operator grants, and called
//! behind the same trait as the built-in ones.

pub mod bench;
mod bindings;
pub mod breaker;
pub mod cases;
pub mod component;
mod convert;
pub mod descriptor;
pub mod encode;
pub(crate) mod files;
pub mod generation;
pub mod grants;
mod imports;
pub mod manager;
pub mod metrics;
pub mod recorder;
mod reload;
pub mod sandbox;
mod stand_ins;
pub mod status;
pub mod witness;
pub mod workbench;
