//! Rules that are WebAssembly components: loaded, checked against what the operator grants, and called
//! behind the same trait as the built-in ones.

mod bindings;
pub mod breaker;
pub mod component;
mod convert;
pub mod descriptor;
pub mod encode;
mod flood;
pub mod generation;
pub mod grants;
mod imports;
pub mod metrics;
pub mod recorder;
pub mod sandbox;
mod stand_ins;
pub mod workbench;
