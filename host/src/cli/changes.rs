//! Lists the fields in which two versions of an object differ.

use std::collections::BTreeSet;

use serde_json::Value;
use weft_core::confine::field_name;
use weft_core::object::Fields;

/// Most characters shown of a value.
const SHOWN: usize = 100;

/// One changed field.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Change {
    /// In Kubernetes notation.
    pub(super) field: String,
    /// The value before, shortened.
    pub(super) before: Option<String>,
    /// The value after, shortened.
    pub(super) after: Option<String>,
}

/// The fields that differ, in the order of their names.
pub(super) fn changes(before: &Fields, after: &Fields) -> Vec<Change> {
    let mut found = Vec::new();
    walk_fields(before, after, "", &mut found);
    found
}

fn walk(before: Option<&Value>, after: Option<&Value>, at: &str, found: &mut Vec<Change>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => walk_fields(before, after, at, found),
        (Some(Value::Array(before)), Some(Value::Array(after))) => walk_items(before, after, at, found),
        // A new or removed map is shown entry by entry, unless it is an item of a list.
        (None, Some(Value::Object(after))) if !after.is_empty() && !is_item(at) => {
            walk_fields(&Fields::new(), after, at, found);
        }
        (Some(Value::Object(before)), None) if !before.is_empty() && !is_item(at) => {
            walk_fields(before, &Fields::new(), at, found);
        }
        (before, after) => {
            let field = field_name(at);
            found.push(Change { field, before: before.map(short), after: after.map(short) });
        }
    }
}

fn is_item(at: &str) -> bool {
    at.rsplit('/').next().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn walk_fields(before: &Fields, after: &Fields, at: &str, found: &mut Vec<Change>) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        // In names of labels there are slashes, which must not look like levels.
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        walk(before.get(name), after.get(name), &at, found);
    }
}

/// Items are matched by `name`; without names, by index.
fn walk_items(before: &[Value], after: &[Value], at: &str, found: &mut Vec<Change>) {
    let is_named = are_named(before) && are_named(after);
    let partner = |index: usize, item: &Value, others: &'_ [Value]| -> Option<usize> {
        if !is_named {
            return (index < others.len()).then_some(index);
        }
        others.iter().position(|other| name(other) == name(item))
    };
    for (index, item) in after.iter().enumerate() {
        let old = partner(index, item, before).and_then(|index| before.get(index));
        walk(old, Some(item), &format!("{at}/{index}"), found);
    }
    for (index, item) in before.iter().enumerate() {
        if partner(index, item, after).is_none() {
            walk(Some(item), None, &format!("{at}/{index}"), found);
        }
    }
}

fn are_named(items: &[Value]) -> bool {
    let names: BTreeSet<&str> = items.iter().filter_map(name).collect();
    names.len() == items.len()
}

fn name(item: &Value) -> Option<&str> {
    item.get("name").and_then(Value::as_str)
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}"));
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(before: &Value, after: &Value) -> Vec<String> {
        let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
        let side = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        changes(before, after)
            .into_iter()
            .map(|change| format!("{}: {} {}", change.field, side(change.before), side(change.after)))
            .collect()
    }

    #[test]
    fn items_are_matched_by_name() {
        let before = json!({"env": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]});
        let after =
            json!({"env": [{"name": "new"}, {"name": "a", "value": "1"}, {"name": "b", "value": "3"}]});
        assert_eq!(shown(&before, &after), [r#"env[0]: - {"name":"new"}"#, r#"env[2].value: "2" "3""#]);
        assert_eq!(shown(&after, &before), [r#"env[1].value: "3" "2""#, r#"env[0]: {"name":"new"} -"#]);
    }

    #[test]
    fn long_values_are_shortened_and_slashes_in_names_stay() {
        let after = json!({"metadata": {"labels": {"a/b": "x".repeat(200)}}});
        let found = shown(&json!({"metadata": {"labels": {}}}), &after);
        assert!(
            found[0].starts_with("metadata.labels[a/b]: - \"xxx") && found[0].ends_with("x…"),
            "{found:?}"
        );
    }
}
