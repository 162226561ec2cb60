//! Tests on a real node. They need root: `cargo verify nodes` runs them, and says why where it cannot.

mod amounts;
mod cluster;
mod commands;
mod copies;
mod images;
mod installed;
mod lives;
mod metrics;
mod mirrored;
mod names;
mod recovery;
mod refusals;
mod sides;
mod smoke;
mod steps;
mod streams;
mod tokens;
