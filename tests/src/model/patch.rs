//! Applies a patch, in one of three formats.

use serde_json::Value;

use super::call::Format;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::strategic;

/// What becomes of an object by a patch.
pub(super) fn patched(old: &Value, format: Format, patch: &Value, kind: &Kind) -> Result<Value, Refusal> {
    let mut object = old.clone();
    match format {
        Format::Json => {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|error| Refusal::bad_request(format!("the patch cannot be read: {error}")))?;
            json_patch::patch(&mut object, &patch)
                .map_err(|error| Refusal::unprocessable(format!("the patch does not fit: {error}")))?;
        }
        Format::Merge if patch.is_object() => json_patch::merge(&mut object, patch),
        Format::Strategic if patch.is_object() => strategic::merge(&mut object, patch, kind)?,
        Format::Merge | Format::Strategic => return Err(Refusal::bad_request("the patch is no object")),
    }
    Ok(object)
}
