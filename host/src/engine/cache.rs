//! The caches: the objects of both clusters, who refers to whom, and the rules in use.
//!
//! [`store`] keeps one kind of one cluster, [`kinds`] the stores and rules of all kinds, [`index`] who refers to whom,
//! and [`state`] queues what a change concerns. A decision reads through a [`view`], which records what was read.

pub(crate) mod bindings;
pub(crate) mod changed;
pub(crate) mod content;
pub(crate) mod host_nodes;
pub(crate) mod index;
pub(crate) mod kinds;
mod packed;
mod placement;
pub(crate) mod state;
pub(crate) mod store;
#[cfg(test)]
pub(in crate::engine) mod testing;
mod tombstones;
pub(crate) mod version;
pub(crate) mod view;
