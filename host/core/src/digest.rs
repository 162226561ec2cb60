//! Digests that tell strings or values apart.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Digits of a short digest: 128 bits.
const SHORT: usize = 32;

/// SHA-256 in hexadecimal, 64 digits.
pub fn of_bytes(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The first 128 bits of SHA-256 in hexadecimal, 32 digits: short enough for a name.
pub fn short(bytes: &[u8]) -> String {
    let mut text = of_bytes(bytes);
    text.truncate(SHORT);
    text
}

/// A short digest of a JSON value: the same for equal values, whatever order their fields came in.
pub fn of_value(value: &Value) -> String {
    let text = serde_json::to_vec(value).unwrap_or_default();
    short(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn digests_are_those_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let long = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((of_bytes(b"abc").as_str(), short(b"abc").as_str()), (long, &long[..32]));
    }

    #[test]
    fn the_order_of_fields_does_not_count() {
        let parse = |text: &str| serde_json::from_str(text).unwrap_or(json!(null));
        assert_eq!(of_value(&parse(r#"{"a":1,"b":2}"#)), of_value(&parse(r#"{"b":2,"a":1}"#)));
        assert_ne!(of_value(&json!({"a": 1})), of_value(&json!({"a": "1"})));
    }
}
