//! The tests that need real control planes or a built guest, in one binary so that they share one world.

mod faults;
mod fields;
mod model;
mod nodes;
mod planes;
mod plugins;
mod simulation;
