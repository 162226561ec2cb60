//! The tests that need real control planes or a built guest, in one binary so that they share one world.

mod planes;
mod plugins;
