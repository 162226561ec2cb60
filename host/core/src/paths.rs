//! Paths into JSON with `*` for every element of a list or every value of a map.
//!
//! RFC 6901 pointers, plus the segment `*`: `/spec/containers/*/image`.

use std::borrow::Cow;

use serde_json::Value;

use crate::object::Fields;

/// Calls `visit` with each value that `path` reaches.
pub fn each<'a>(value: &'a Value, path: &str, visit: &mut dyn FnMut(&'a Value)) {
    match (value, next(path)) {
        (value, None) => visit(value),
        (Value::Array(items), Some(("*", rest))) => items.iter().for_each(|item| each(item, rest, visit)),
        (Value::Object(fields), Some(_)) => each_in(fields, path, visit),
        _ => {}
    }
}

/// The same from the fields of an object; an empty path reaches none of them.
pub fn each_in<'a>(fields: &'a Fields, path: &str, visit: &mut dyn FnMut(&'a Value)) {
    match next(path) {
        Some(("*", rest)) => fields.values().for_each(|field| each(field, rest, visit)),
        Some((name, rest)) => {
            if let Some(field) = fields.get(&*unescape(name)) {
                each(field, rest, visit);
            }
        }
        None => {}
    }
}

/// Calls `visit` with each value that `path` reaches, to edit.
pub fn each_mut(value: &mut Value, path: &str, visit: &mut dyn FnMut(&mut Value)) {
    match (value, next(path)) {
        (value, None) => visit(value),
        (Value::Array(items), Some(("*", rest))) => {
            for item in items {
                each_mut(item, rest, visit);
            }
        }
        (Value::Object(fields), Some(_)) => each_in_mut(fields, path, visit),
        _ => {}
    }
}

/// The same from the fields of an object; an empty path reaches none of them.
pub fn each_in_mut(fields: &mut Fields, path: &str, visit: &mut dyn FnMut(&mut Value)) {
    match next(path) {
        Some(("*", rest)) => fields.values_mut().for_each(|field| each_mut(field, rest, visit)),
        Some((name, rest)) => {
            if let Some(field) = fields.get_mut(&*unescape(name)) {
                each_mut(field, rest, visit);
            }
        }
        None => {}
    }
}

/// Calls `visit` with each place of `path` in `fields`: its pointer, in which indices and names stand for `*`, and
/// the value there, or none where it is missing or null. A `*` stands for what is there, so what has no elements
/// misses none.
pub fn each_place<'a>(fields: &'a Fields, path: &str, visit: &mut dyn FnMut(&str, Option<&'a Value>)) {
    place_in(fields, "", path, visit);
}

fn place_in<'a>(fields: &'a Fields, at: &str, path: &str, visit: &mut dyn FnMut(&str, Option<&'a Value>)) {
    match next(path) {
        Some(("*", rest)) => {
            for (name, field) in fields {
                place(Some(field), &format!("{at}/{}", escape(name)), rest, visit);
            }
        }
        Some((name, rest)) => place(fields.get(&*unescape(name)), &format!("{at}/{name}"), rest, visit),
        None => {}
    }
}

fn place<'a>(value: Option<&'a Value>, at: &str, path: &str, visit: &mut dyn FnMut(&str, Option<&'a Value>)) {
    match (value, next(path)) {
        (value, None) => visit(at, value.filter(|value| !value.is_null())),
        (Some(Value::Object(fields)), _) => place_in(fields, at, path, visit),
        (Some(Value::Array(items)), Some(("*", rest))) => {
            for (index, item) in items.iter().enumerate() {
                place(Some(item), &format!("{at}/{index}"), rest, visit);
            }
        }
        _ if path.split('/').any(|segment| segment == "*") => {}
        _ => visit(&format!("{at}{path}"), None),
    }
}

/// The segment that stands for a name: the inverse of [`unescape`].
pub fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) { name.replace('~', "~0").replace('/', "~1").into() } else { name.into() }
}

/// The name that a segment stands for: `~1` is `/` in it, `~0` is `~`.
pub fn unescape(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') { segment.replace("~1", "/").replace("~0", "~").into() } else { segment.into() }
}

/// The first segment of a path, and the rest of it; none of an empty one.
pub fn next(path: &str) -> Option<(&str, &str)> {
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
    fn every_place_has_its_own_pointer() {
        let value = json!({"a": [{"b": 1}, {"c": 2}, {"b": null}], "d": {"e/f": {"b": 4}}, "g": "text"});
        let places = |path: &str| {
            let mut found = Vec::new();
            each_place(value.as_object().unwrap(), path, &mut |pointer, value| {
                found.push((pointer.to_owned(), value.cloned()));
            });
            found
        };
        let at = |pointer: &str, value: Option<Value>| (pointer.to_owned(), value);
        assert_eq!(places("/a/*/b"), [at("/a/0/b", Some(json!(1))), at("/a/1/b", None), at("/a/2/b", None)]);
        assert_eq!(places("/d/*/b"), [at("/d/e~1f/b", Some(json!(4)))]);
        assert_eq!(places("/g/b/c"), [at("/g/b/c", None)]);
        assert_eq!(places("/missing/b"), [at("/missing/b", None)]);
        assert_eq!(places("/missing/*/b"), []);
    }

    #[test]
    fn editing_changes_only_what_was_reached() {
        let mut value = json!({"a": [{"b": 1}, {"c": 2}]});
        each_mut(&mut value, "/a/*/b", &mut |found| *found = json!("x"));
        assert_eq!(value, json!({"a": [{"b": "x"}, {"c": 2}]}));
    }
}
