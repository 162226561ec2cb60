//! The pure core of weft: what the host should hold, given what the tenant asked for.
//!
//! The nouns:
//!
//! - a **virtual** object is the tenant's, a **host** object is where it really runs; the two are a
//!   **pair** and different types ([`object`]);
//! - a [`spec::KindSpec`] is what a kind is, as data; a [`mapper::Mapper`] is what it does; a
//!   [`mapper::Patcher`] is how its objects are patched; [`kinds::builtin`] is the list of the built-in ones;
//! - a **draft** is the host object after the common part of translation ([`translate`]), before the mapper;
//! - a [`declared::Declared`] kind is described rather than programmed; an [`extension::Extension`] is a
//!   plugin as the core sees it, which a [`chain::Chain`] puts in place of a kind's mapper or behind it;
//! - [`mod@confine`] is the guard: it checks what comes out of any mapper;
//! - a [`verdict::Verdict`] is what to write or why nothing is written, and who says so;
//! - a [`plan::Plan`] is what is to be written, as data.
//!
//! Nothing here does I/O: this package has no client, no runtime and no clock to do it with.

pub mod causes;
pub mod chain;
pub mod change;
pub mod conditions;
pub mod confine;
pub mod context;
pub mod declared;
pub mod diff;
pub mod digest;
pub mod edit;
pub mod extension;
pub mod fields;
pub mod host_controllers;
pub mod host_keys;
pub mod key_pattern;
pub mod keys;
pub mod kinds;
pub mod labels;
pub mod mapper;
pub mod messages;
pub mod names;
pub mod nodes;
pub mod object;
pub mod offline;
pub mod paths;
pub mod plan;
pub mod policy;
pub mod references;
mod refused;
pub mod selectors;
pub mod spec;
pub mod text;
pub mod translate;
pub mod unsigned;
pub mod verdict;
pub mod well_known;
