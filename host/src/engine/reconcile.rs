//! One pair at a time: observe both sides, decide, write, and publish.

mod decide;
mod error;
pub(crate) mod publish;
pub(crate) mod steps;
pub(crate) mod syncer;
