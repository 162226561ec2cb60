//! Keeps a store in step with one kind on one API server.
//!
//! [`state`] says in which states a watch can be and what leads from one to the next; [`run`] drives it, with the
//! requests of each state in [`list`], [`follow`] and [`audit`]; [`page`] reads what is too large in smaller pages, and
//! [`unreadable`] is for objects that cannot be decoded, [`admit`] for those under names that no server gives. [`watch`] is
//! what is watched, [`identity`] the guard that is asked before anything leaves the store. [`heartbeat`] notices that a
//! server is away, and [`failures`] is what readiness reports.

mod admit;
mod audit;
mod effect;
mod error;
pub(crate) mod failures;
mod follow;
mod frames;
pub(crate) mod heartbeat;
pub(crate) mod identity;
mod list;
mod page;
pub(crate) mod request;
mod run;
mod state;
#[cfg(test)]
mod testing;
mod unreadable;
mod unserved;
pub(crate) mod watch;
mod wire;
