//! Paths into JSON with `*` for every element of a list or every value of a map.
//!
//! RFC 6901 pointers, plus the segment `*`: `/spec/containers/*/image`.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// A JSON object: field name to value, sorted by name.
pub type Fields = Map<String, Value>;

/// The value at an RFC 6901 pointer. Unlike [`Value::pointer`] it copies no segment.
pub fn at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    let Some((segment, rest)) = next(pointer) else { return pointer.is_empty().then_some(value) };
    let within = match value {
        Value::Object(fields) => fields.get(&*unescape(segment)),
        Value::Array(items) => index(segment).and_then(|index| items.get(index)),
        _ => None,
    };
    at(within?, rest)
}

/// The same in the fields of an object; an empty pointer names none of them.
pub fn at_in<'a>(fields: &'a Fields, pointer: &str) -> Option<&'a Value> {
    let (segment, rest) = next(pointer)?;
    at(fields.get(&*unescape(segment))?, rest)
}

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

/// The place in a list that a segment names, without sign or leading zero.
fn index(segment: &str) -> Option<usize> {
    let is_padded = segment.len() > 1 && segment.starts_with('0');
    let is_number = segment.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && !is_padded { segment.parse().ok() } else { None }
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
    fn a_pointer_names_what_it_names_for_serde_json() {
        let value = json!({"a": [{"b": 1}, [2]], "x/y": {"~": 3}, "": {"01": 4}});
        for pointer in [
            "", "/", "a", "/a", "/a/0/b", "/a/00", "/a/+1", "/a/1/0", "/a/2", "/a/-", "/x~1y/~0", "/x/y",
            "//01", "/a/", "/a/0/b/c",
        ] {
            assert_eq!(at(&value, pointer), value.pointer(pointer), "{pointer}");
        }
        let fields = value.as_object().unwrap();
        assert_eq!((at_in(fields, ""), at_in(fields, "/x~1y/~0")), (None, Some(&json!(3))));
    }

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
