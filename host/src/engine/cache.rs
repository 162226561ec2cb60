//! What the engine knows: the objects of both clusters, who refers to whom, and the rules in use.
//!
//! [`store`] keeps one kind of one cluster, [`kinds`] the stores and rules of all kinds, [`index`] who refers to whom,
//! and [`state`] brings a change to the queue. A decision reads through a [`view`], which remembers what was read.

pub(crate) mod changed;
pub(crate) mod index;
pub(crate) mod kinds;
mod packed;
mod placement;
pub(crate) mod state;
pub(crate) mod store;
mod tombstones;
pub(crate) mod version;
pub(crate) mod view;
