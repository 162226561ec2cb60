//! The JSON Schema of the configuration, and the keys of a file that it does not have.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// The schema of a type. It has no other keys than those it names, as the reader of the file has it.
pub(super) fn of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(close)).into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

fn close(schema: &mut Schema) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

/// One line for each key of `value` that the schema does not have, with the nearest that it has.
pub(super) fn unknown_keys(schema: &Value, value: &Value) -> String {
    let mut list = String::new();
    collect_unknown(schema, schema, value, "", &mut list);
    list
}

fn collect_unknown(root: &Value, schema: &Value, value: &Value, path: &str, list: &mut String) {
    let schema = resolve(root, schema);
    if let (Some(items), Some(list_of)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list_of.iter().enumerate() {
            collect_unknown(root, items, item, &format!("{path}[{index}]"), list);
        }
    }
    let Some(fields) = value.as_object() else { return };
    if let Some(any) = schema.get("additionalProperties").filter(|any| any.is_object()) {
        for (key, value) in fields {
            collect_unknown(root, any, value, &format!("{path}.{key}"), list);
        }
    }
    let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
    for (key, value) in fields {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if let Some(schema) = known.get(key) {
            collect_unknown(root, schema, value, &path, list);
        } else {
            let _ = write!(list, "\n  {path}: {}", suggestion(key, known.keys()));
        }
    }
}

/// Follows `$ref` and the wrappers that schemars puts around it.
pub(super) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let inner = schema.get("anyOf").or_else(|| schema.get("allOf")).and_then(|list| list.get(0));
    let schema = inner.unwrap_or(schema);
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn suggestion<'a>(key: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    /// Below this likeness a suggestion would only confuse.
    const ALIKE: f64 = 0.6;
    match nearest(key, known.clone()) {
        Some((likeness, name)) if likeness >= ALIKE => format!("did you mean `{name}`?"),
        _ => format!("known here: {}", known.cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// The name that is most like `text`, whatever the case of its letters, and how like it is: 1 for the same.
pub(crate) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a String>) -> Option<(f64, &'a String)> {
    let likeness = |name: &String| strsim::jaro_winkler(&text.to_lowercase(), &name.to_lowercase());
    known.map(|name| (likeness(name), name)).max_by(|one, other| one.0.total_cmp(&other.0))
}
