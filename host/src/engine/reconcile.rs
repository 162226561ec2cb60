//! One pair at a time: observe both sides, decide, write, and publish.

mod decide;
mod error;
pub(crate) mod fight;
pub(crate) mod lasting;
pub(crate) mod observe;
pub(crate) mod pace;
pub(crate) mod publish;
pub(crate) mod steps;
pub(crate) mod syncer;
pub(crate) mod worker;
