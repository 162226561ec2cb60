//! Builds the components that the tests load.

use std::path::PathBuf;

use anyhow::Result;

use crate::binaries::cache;

pub mod misbehaving;
pub mod rust;
pub mod toolchains;

/// The folder in which compiled guests are kept from one run to the next.
pub fn compiled() -> Result<PathBuf> {
    Ok(cache("guests")?.join("compiled"))
}
