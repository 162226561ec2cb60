//! Write mappings for weft in Rust.
//!
//! A plugin is a type whose fields are its settings. weft drafts the host object as far as it can without knowing the
//! kind: name, labels, references. The plugin changes that draft, and the SDK returns the changes as a JSON Patch.
//!
//! ```
//! use serde::Deserialize;
//! use weft_plugin::{Call, Descriptor, Mapping, Object, Plugin, Result};
//!
//! /// Labels every pod with the team that owns it.
//! #[derive(Deserialize)]
//! struct TeamLabel {
//!     team: String,
//! }
//!
//! impl Plugin for TeamLabel {
//!     fn describe() -> Descriptor {
//!         Descriptor::new("team-label", env!("CARGO_PKG_VERSION"), "Labels pods with their team.")
//!             .mapping(Mapping::mutate("v1", "Pod", "pods", 100))
//!     }
//!
//!     fn to_host(&self, _call: &Call, draft: &mut Object) -> Result {
//!         draft.set_label("team", &self.team);
//!         Ok(())
//!     }
//! }
//!
//! weft_plugin::export!(TeamLabel);
//! # fn main() {}
//! ```
//!
//! `Ok(())` writes the draft as it now is. Every other decision is an `Err` with a [`Verdict`], so that `?` ends a
//! rule early:
//!
//! ```
//! # use weft_plugin::{Object, Result, reject};
//! fn refuse_host_ports(draft: &Object) -> Result {
//!     for (pointer, _) in draft.find("/spec/containers/*/ports/*/hostPort") {
//!         return Err(reject("HostPort", "host ports are not offered here; use a Service").at(pointer));
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # A plugin that adds a kind
//!
//! weft rewrites declared references and selectors before the rule runs:
//!
//! ```
//! # use weft_plugin::{Descriptor, Mapping};
//! Descriptor::new("gateway", "0.1.0", "Maps gateways.").mapping(
//!     Mapping::add("example.com/v1", "Gateway", "gateways")
//!         .reference("/spec/tls/*/secretName", "v1/Secret")
//!         .selector("/spec/podSelector")
//!         .to_virtual()
//!         .with_host_object()
//!         .install_definition(),
//! );
//! ```
//!
//! # What a rule may not do
//!
//! Each call runs in a fresh instance, so no state survives from one object to the next, and there is no clock, no
//! randomness, no file and no network. A rule reads other objects with [`lookup`]; weft records what was read and runs
//! the rule again when that changes.
//!
//! # Building
//!
//! A plugin is a crate of type `cdylib`, built for `wasm32-unknown-unknown`, which imports nothing but weft's own
//! interfaces; `weft plugin build` makes a component from the module. Rules can be tested natively with [`testing`].

extern crate self as weft_plugin;

#[doc(hidden)]
pub mod bindings;
mod call;
mod descriptor;
mod diff;
#[doc(hidden)]
pub mod glue;
pub mod log;
pub mod lookup;
pub mod names;
mod object;
mod patch;
mod plugin;
pub mod pointer;
mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdict;

pub use call::Call;
pub use descriptor::{Descriptor, Kind, Mapping, Side, kind};
pub use object::Object;
pub use patch::Patch;
pub use plugin::Plugin;
pub use serde_json::{self, Map, Value, json};
pub use verdict::{Decision, Problem, Result, Severity, Verdict, absent, fail, problem, reject, skip, wait};

#[doc(hidden)]
pub use wit_bindgen;

/// Exports a [`Plugin`] as the component. Use it once in a crate.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::glue::Component<$plugin>;
    $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}
