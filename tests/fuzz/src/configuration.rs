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
    match error {
        Error::Parse { why, .. } => {
            assert!(why.contains('`') || why.contains("line"), "{why}");
        }
        Error::UnknownKeys { list, .. } => {
            assert!(list.lines().filter(|line| !line.is_empty()).count() > 0, "no key is named");
        }
        Error::Value { key, why } => assert!(!key.is_empty() && !why.is_empty(), "{error}"),
        Error::ClusterName { .. } => {}
        Error::Read { .. } => unreachable!("no file was read"),
    }
}
