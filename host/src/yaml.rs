//! Reads YAML so that one line says which key cannot be read, where it is, and what may stand there.

use serde::de::DeserializeOwned;

/// The value that `text` holds.
///
/// # Errors
/// One line for people; the text around the place is in their editor.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut key = String::new();
    let value = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            key = error.path().to_string();
            error.into_inner()
        })
    });
    value.map_err(|error| {
        let why = error.without_snippet();
        // The path of the whole is a dot.
        let is_inside = !key.is_empty() && key != ".";
        if is_inside { format!("`{key}`: {why}") } else { why.to_string() }
    })
}
