//! Tests through two real API servers.

mod both;
mod collisions;
mod config;
mod endpoints;
mod faults;
mod harness;
mod pods;
mod services;
mod starts;
mod storage;
