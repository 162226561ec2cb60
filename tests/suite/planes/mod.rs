//! Tests through two real API servers.

mod both;
mod collisions;
mod config;
mod configuration;
mod controllers;
mod endpoints;
mod events;
mod faults;
mod harness;
mod isolation;
mod jobs;
mod losses;
mod place;
mod pod_end;
mod pod_life;
mod pod_tokens;
mod pods;
mod recreation;
mod refusals;
mod restart;
mod services;
mod starts;
mod storage;
