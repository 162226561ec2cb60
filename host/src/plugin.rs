//! Rules that are WebAssembly components: loaded, checked against what the operator grants, and called
//! behind the same trait as the built-in ones.

mod bindings;
pub mod breaker;
pub(crate) mod candidates;
pub mod component;
mod convert;
pub(crate) mod files;
pub mod generation;
mod imports;
pub mod manager;
pub mod metrics;
pub mod probe;
pub mod recorder;
pub(crate) mod reload;
pub mod sandbox;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;
mod wasi_stubs;
