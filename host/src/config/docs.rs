//! The settings as one Markdown table, made from the JSON Schema of the configuration.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::schema::resolve;

/// What stands above the table of the configuration file.
const SETTINGS: &str = "\
<!-- Generated from the types in host/src/config: UPDATE_DOCS=1 cargo test -p weft --test docs -->

# Settings of the syncer

All keys of the configuration file, as `weft config docs` prints them. `weft config schema` prints the same as JSON
Schema, for editors; `weft syncer --config <file> --print-config` prints a file with every default. In a key, `[]` is
an item of a list and `<name>` a name that you choose.
";

/// What stands above the table of the chart.
const VALUES: &str = "\
<!-- Generated from the types in host/src/config: UPDATE_DOCS=1 cargo test -p weft --test chart -->

# Values of the chart

All values, as `weft config docs --values` prints them. In a key, `[]` is an item of a list and `<name>` a name that you
choose.
";

const TABLE: &str = "
| Key | Type | Default | What it is |
|---|---|---|---|
";

/// One line of the table.
struct Row {
    key: String,
    r#type: String,
    default: String,
    text: String,
}

/// The page of the configuration file. The same schema gives the same page.
pub fn settings(schema: &Value) -> String {
    page(SETTINGS, schema)
}

/// The page of the chart's values.
pub fn chart_values(schema: &Value) -> String {
    page(VALUES, schema)
}

fn page(head: &str, schema: &Value) -> String {
    let mut rows = Vec::new();
    collect(schema, schema, None, "", &mut rows);
    let mut page = format!("{head}{TABLE}");
    for Row { key, r#type, default, text } in rows {
        let _ = writeln!(page, "| `{key}` | {type} | {default} | {text} |");
    }
    page
}

/// Adds the keys of an object, each followed by what lies in it. `whole` is the default of the object, which may differ
/// from those of its keys: two images are of one type.
fn collect(root: &Value, schema: &Value, whole: Option<&Value>, path: &str, rows: &mut Vec<Row>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    // Not in the order of the map, which depends on a feature of serde_json that any crate may turn on.
    let mut properties: Vec<(&String, &Value)> = properties.iter().collect();
    properties.sort_by_key(|(name, _)| *name);
    for (name, field) in properties {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let (inner, suffix) = inner(root, field);
        let within = format!("{key}{suffix}");
        let default = whole.and_then(|whole| whole.get(name)).or_else(|| field.get("default"));
        let shown =
            if is_required(schema, name) { "required".to_owned() } else { shown(root, field, default) };
        rows.push(row(root, field, key, &shown));
        collect(root, inner, default.filter(|_| suffix.is_empty()), &within, rows);
    }
}

fn row(root: &Value, field: &Value, key: String, default: &str) -> Row {
    let schema = resolve(root, field);
    Row { key, r#type: type_name(root, schema), default: cell(default), text: cell(&text(field, schema)) }
}

/// A default, for people.
fn shown(root: &Value, field: &Value, default: Option<&Value>) -> String {
    match default {
        // The keys below show it.
        _ if resolve(root, field).get("properties").is_some() => String::new(),
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|required| required.iter().any(|key| key == name))
}

/// The schema of what has keys in a field, and what stands for it in their path.
fn inner<'a>(root: &'a Value, field: &'a Value) -> (&'a Value, &'static str) {
    let schema = resolve(root, field);
    match (schema.get("items"), schema.get("additionalProperties")) {
        (Some(items), _) => (resolve(root, items), "[]"),
        (_, Some(any)) if any.is_object() => (resolve(root, any), ".<name>"),
        _ => (schema, ""),
    }
}

/// In words that people know from YAML.
fn type_name(root: &Value, schema: &Value) -> String {
    if let Some(values) = values(schema) {
        return values.map(|(value, _)| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(either) = schema.get("anyOf").and_then(Value::as_array) {
        let names: Vec<String> = either.iter().map(|one| type_name(root, resolve(root, one))).collect();
        return names.join(" or ");
    }
    let of = |key: &str| match schema.get(key) {
        Some(any) if any.is_object() => format!(" of {}", several(&type_name(root, resolve(root, any)))),
        _ => String::new(),
    };
    match schema.get("type").map(|name| name.get(0).unwrap_or(name)).and_then(Value::as_str) {
        Some("array") => format!("list{}", of("items")),
        Some("object") if schema.get("properties").is_none() => format!("map{}", of("additionalProperties")),
        Some(name) => name.to_owned(),
        None => "value".to_owned(),
    }
}

/// The plural: `maps of strings`.
fn several(name: &str) -> String {
    let (first, rest) = name.split_at(name.find(' ').unwrap_or(name.len()));
    format!("{first}s{rest}")
}

/// What a field says of itself, and what its values mean.
fn text(field: &Value, schema: &Value) -> String {
    let mut text = description(field).to_owned();
    for (value, meaning) in values(schema).into_iter().flatten().filter(|(_, meaning)| !meaning.is_empty()) {
        let _ = write!(text, "<br>`{value}`: {meaning}");
    }
    text
}

/// The values of an enumeration, each with what it means; none for anything else.
fn values(schema: &Value) -> Option<impl Iterator<Item = (&str, &str)>> {
    let variants = schema.get("oneOf")?.as_array()?;
    Some(variants.iter().filter_map(|variant| Some((variant.get("const")?.as_str()?, description(variant)))))
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// Text that can stand in a cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(properties: &Value) -> Vec<String> {
        let page = settings(&json!({"properties": properties, "required": ["must"]}));
        page.strip_prefix(SETTINGS).unwrap().strip_prefix(TABLE).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn keys_are_sorted_and_those_within_follow() {
        let text = json!({"type": "string", "default": "a|b", "description": "One\ntwo."});
        let list = json!({"type": "array", "items": {"properties": {"x": text}}, "default": []});
        let map =
            json!({"type": "object", "additionalProperties": {"properties": {"x": text}, "type": "object"}});
        let rows = rows(&json!({"must": map, "list": list}));
        let wanted = [
            "| `list` | list of values | `[]` |  |",
            "| `list[].x` | string | `a\\|b` | One two. |",
            "| `must` | map of objects | required |  |",
            "| `must.<name>.x` | string | `a\\|b` | One two. |",
        ];
        assert_eq!(rows, wanted);
    }

    #[test]
    fn a_default_is_that_of_the_object_where_it_differs_from_that_of_its_type() {
        let image = json!({"properties": {"name": {"default": ""}, "tag": {"default": "1"}}});
        let both = json!({"one": image.clone(), "two": image.clone()});
        let both =
            json!({"properties": both, "default": {"one": {"name": "first"}, "two": {"name": "second"}}});
        let rows = rows(&json!({"both": both}));
        let found: Vec<_> = rows.iter().filter(|row| row.contains("name")).collect();
        assert_eq!(
            found,
            ["| `both.one.name` | value | `first` |  |", "| `both.two.name` | value | `second` |  |"]
        );
        assert!(rows.contains(&"| `both.one.tag` | value | `1` |  |".to_owned()), "{rows:?}");
    }

    #[test]
    fn what_may_be_one_thing_or_another_is_both_and_nothing_is_called_empty() {
        let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
        let list = json!({"type": "array", "items": map});
        let either = json!({"allOf": [{"anyOf": [{"type": "string"}, list]}], "default": ""});
        assert_eq!(
            rows(&json!({"what": either})),
            ["| `what` | string or list of maps of strings | empty |  |"]
        );
    }

    #[test]
    fn the_values_of_an_enumeration_are_listed_with_what_they_mean() {
        let one = json!({"const": "on", "description": "Always."});
        let rows = rows(&json!({"when": {"oneOf": [one, {"const": "off"}], "default": "on"}}));
        assert_eq!(rows, ["| `when` | `on`, `off` | `on` | <br>`on`: Always. |"]);
    }
}
