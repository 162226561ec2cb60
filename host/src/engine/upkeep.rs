//! What the engine looks after beside pairs: its own start, custom resource definitions, and changes of the rules.

pub(crate) mod bootstrap;
mod clean_up;
pub(crate) mod crds;
pub(crate) mod reconfigure;
