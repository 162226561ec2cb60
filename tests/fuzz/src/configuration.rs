//! What an operator writes, whatever it is: it is refused with its place, or the configuration says the same once it is printed.

use std::path::Path;

use crate::config::{Config, Error};

/// The file.
pub(crate) fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(Path::new("weft.yaml"), text) {
        Ok(config) => check_printed(&config),
        Err(error) => check_refusal(&error),
    }
}

fn check_printed(config: &Config) {
    let printed = config.to_yaml();
    let again = Config::parse(Path::new("weft.yaml"), &printed);
    assert!(again.as_ref().is_ok_and(|again| again == config), "{again:?} is what comes of {printed}");
}

/// It names a key, or a line.
fn check_refusal(error: &Error) {
    let has_place = match error {
        Error::Parse { why, .. } => why.contains('`') || why.contains("line"),
        Error::UnknownKeys { list, .. } => list.lines().any(|line| line.contains(':')),
        Error::Value { key, why } => !key.is_empty() && !why.is_empty(),
        Error::ClusterName { .. } => true,
        // No file was read.
        Error::Read { .. } => false,
    };
    assert!(has_place, "{error}");
}
