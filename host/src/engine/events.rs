//! Kubernetes Events: of the engine and of plugins about objects, and of the host about our objects.

pub(crate) mod mirror;
pub(crate) mod operator;
pub(crate) mod plugins;
pub(crate) mod reason;
pub(crate) mod recorder;
