//! Keeps a store in step with one kind on one API server.

pub(crate) mod identity;
pub(crate) mod watch;
mod wire;
