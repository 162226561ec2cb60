//! What a child process does for its parent: see [`super::apart`].

use std::path::Path;

use weft_core::causes::causes;

use crate::plugin::apart::{Compiled, Settings, SettingsInput, Workplace};
use crate::plugin::sandbox::{Error, Sandbox};
use crate::plugin::schema;

/// Compiles the component `bytes` and holds it against the interface; `cache` gets the result.
pub fn compile(bytes: &[u8], cache: Option<&Path>, wasi: bool) -> Compiled {
    let sandbox = match Sandbox::at(Workplace::Here, cache) {
        Ok(sandbox) => sandbox,
        Err(error) => return Compiled::Compile(causes(&error)),
    };
    let prepared = sandbox.compile(bytes).and_then(|component| sandbox.prepare(&component, wasi));
    match prepared {
        Ok(_) => Compiled::Fits,
        Err(Error::Image(size)) => Compiled::Image(size),
        Err(error @ Error::Link(_)) => Compiled::Link(causes(&error)),
        Err(error) => Compiled::Compile(causes(&error)),
    }
}

/// Holds settings against their schema; `input` is a [`SettingsInput`].
pub fn settings(input: &[u8]) -> Settings {
    match serde_json::from_slice::<SettingsInput>(input) {
        Ok(input) => schema::check(&input.schema, &input.settings),
        Err(error) => Settings::Schema(error.to_string()),
    }
}
