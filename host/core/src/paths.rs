//! Paths into JSON with `*` for every element of a list or every value of a map.
//!
//! RFC 6901 pointers, plus the segment `*`: `/spec/containers/*/image`.

use std::borrow::Cow;

use serde_json::Value;

/// Calls `visit` with each value that `path` reaches.
pub fn each<'a>(value: &'a Value, path: &str, visit: &mut dyn FnMut(&'a Value)) {
    let Some((segment, rest)) = next(path) else { return visit(value) };
    match (value, segment) {
        (Value::Array(items), "*") => items.iter().for_each(|item| each(item, rest, visit)),
        (Value::Object(fields), "*") => fields.values().for_each(|field| each(field, rest, visit)),
        (Value::Object(fields), name) => {
            if let Some(field) = fields.get(&*unescape(name)) {
                each(field, rest, visit);
            }
        }
        _ => {}
    }
}

/// Calls `visit` with each value that `path` reaches, to edit.
pub fn each_mut(value: &mut Value, path: &str, visit: &mut dyn FnMut(&mut Value)) {
    let Some((segment, rest)) = next(path) else { return visit(value) };
    match (value, segment) {
        (Value::Array(items), "*") => items.iter_mut().for_each(|item| each_mut(item, rest, visit)),
        (Value::Object(fields), "*") => fields.values_mut().for_each(|field| each_mut(field, rest, visit)),
        (Value::Object(fields), name) => {
            if let Some(field) = fields.get_mut(&*unescape(name)) {
                each_mut(field, rest, visit);
            }
        }
        _ => {}
    }
}

/// The name that a segment stands for: `~1` is `/` in it, `~0` is `~`.
pub fn unescape(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') { segment.replace("~1", "/").replace("~0", "~").into() } else { segment.into() }
}

fn next(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/')?;
    path.split_at_checked(path.find('/').unwrap_or(path.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_reaches_every_element() {
        let value = json!({"a": [{"b": 1}, {"c": 2}, {"b": 3}]});
        let mut seen = Vec::new();
        each(&value, "/a/*/b", &mut |found| seen.push(found.clone()));
        assert_eq!(seen, [json!(1), json!(3)]);
    }

    #[test]
    fn a_segment_may_hold_what_separates_segments() {
        let value = json!({"a/b": {"c~d": 1}});
        let mut seen = Vec::new();
        each(&value, "/a~1b/c~0d", &mut |found| seen.push(found.clone()));
        assert_eq!(seen, [json!(1)]);
    }

    #[test]
    fn editing_changes_only_what_was_reached() {
        let mut value = json!({"a": [{"b": 1}, {"c": 2}]});
        each_mut(&mut value, "/a/*/b", &mut |found| *found = json!("x"));
        assert_eq!(value, json!({"a": [{"b": "x"}, {"c": 2}]}));
    }
}
