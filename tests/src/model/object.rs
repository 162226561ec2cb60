//! Reads and edits JSON objects by path.

use serde_json::Value;
use weft_core::object::{Fields, child_mut};
use weft_core::paths::at;

/// The string at a JSON pointer; empty without one.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The elements at a JSON pointer; none without a list.
pub(super) fn elements<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map of a field, which becomes one if it is none. Bodies that are no object are refused before: see `call.rs`.
pub(super) fn map<'a>(object: &'a mut Value, field: &str) -> &'a mut Fields {
    child_mut(fields(object), field)
}

/// The fields of an object.
#[expect(clippy::unreachable, reason = "it was made an object just before")]
pub(super) fn fields(object: &mut Value) -> &mut Fields {
    if !object.is_object() {
        *object = Fields::new().into();
    }
    match object {
        Value::Object(fields) => fields,
        _ => unreachable!("an object was just stored here"),
    }
}

/// The metadata.
pub(super) fn metadata(object: &mut Value) -> &mut Fields {
    map(object, "metadata")
}

/// Sets a field, or removes it.
pub(super) fn set(fields: &mut Fields, field: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value)),
        None => drop(fields.remove(field)),
    }
}

/// Sets a field that is absent or null.
pub(super) fn default(fields: &mut Fields, field: &str, value: impl Into<Value>) {
    let found = fields.entry(field).or_insert(Value::Null);
    if found.is_null() {
        *found = value.into();
    }
}

/// Removes what a real server does not write: null, and empty maps and lists of the fields named.
pub(super) fn prune(fields: &mut Fields, names: &[&str]) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(entries) => entries.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    fields.retain(|name, value| !(names.contains(&name.as_str()) && is_empty(value)));
}
