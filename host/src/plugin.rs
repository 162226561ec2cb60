//! Rules that are WebAssembly components: loaded, checked against what the operator grants, and called
//! behind the same trait as the built-in ones.

pub mod apart;
mod bindings;
pub mod breaker;
pub(crate) mod candidates;
mod compiled;
pub mod component;
mod convert;
pub(crate) mod files;
pub mod generation;
mod imports;
mod log_lines;
pub mod manager;
pub mod metrics;
mod printed;
pub mod probe;
pub mod recorder;
pub(crate) mod reload;
pub mod sandbox;
mod schema;
pub mod status;
mod surface;
#[cfg(test)]
pub(crate) mod testing;
mod wasi_stubs;
pub mod work;
