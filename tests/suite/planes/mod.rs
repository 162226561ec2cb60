//! Tests through two real API servers.

mod harness;
mod pods;
