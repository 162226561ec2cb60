//! Lists of names that the operator allows, as settings have them.

use weft_core::policy::patterns::Patterns;

use crate::config::Error;

/// Fails if an entry of the list at `key` is no pattern.
pub(super) fn check(key: &'static str, list: &[String]) -> Result<(), Error> {
    let parsed = Patterns::parse(list.iter().map(String::as_str));
    parsed.map(drop).map_err(|error| Error::Value { key, why: error.to_string() })
}

/// The list as the core has it. One that [`check`] refuses allows nothing.
pub(super) fn patterns(list: &[String]) -> Patterns {
    Patterns::parse(list.iter().map(String::as_str)).unwrap_or_default()
}
