//! The tests that need real control planes, in one binary so that they share one world.

mod planes;
