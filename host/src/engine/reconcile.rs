//! One pair at a time: see both sides, decide, write, and publish what there is to say about it.

mod decide;
mod error;
pub(crate) mod publish;
pub(crate) mod syncer;
