//! Tests on a real node. They need root: `cargo verify nodes` runs them, and says why where it cannot.

mod images;
mod smoke;
mod steps;
