//! Reads the command line of a cargo alias.

use std::ffi::OsString;

/// The arguments without the `--` that people put before them, as in `cargo demo -- --once`:
/// the aliases end with one already.
pub fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "--") {
        arguments.remove(1);
    }
    arguments
}
