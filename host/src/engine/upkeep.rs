//! What the engine does beside pairs: its own bootstrap, add-ons, custom resource definitions, and changes of the rules.

pub(crate) mod addons;
pub(crate) mod bootstrap;
mod clean_up;
pub(crate) mod crds;
pub(crate) mod placed;
pub(crate) mod reconfigure;
