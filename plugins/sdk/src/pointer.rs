//! JSON pointers (RFC 6901), and paths in which `*` means every item of a list or every value of a map.

use serde_json::Value;

/// Appends the name of a field: `/` and `~` in it are escaped.
pub fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    for character in name.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// Appends an index of a list.
pub fn push_index(pointer: &mut String, index: usize) {
    pointer.push('/');
    pointer.push_str(&index.to_string());
}

/// The pointer to a field below `pointer`: `below("/metadata/labels", "app/name")` is
/// `/metadata/labels/app~1name`.
pub fn below(pointer: &str, name: &str) -> String {
    let mut result = pointer.to_owned();
    push(&mut result, name);
    result
}

/// The name in a segment, unescaped.
pub fn unescape(segment: &str) -> String {
    let mut name = String::with_capacity(segment.len());
    let mut rest = segment.chars();
    while let Some(character) = rest.next() {
        name.push(match character {
            '~' if rest.next() == Some('1') => '/',
            other => other,
        });
    }
    name
}

/// Calls `visit` with each value that matches `path`, and with its pointer.
pub fn each<'a>(value: &'a Value, path: &str, visit: &mut dyn FnMut(&str, &'a Value)) {
    walk(value, path, &mut String::new(), visit);
}

fn walk<'a>(value: &'a Value, path: &str, here: &mut String, visit: &mut dyn FnMut(&str, &'a Value)) {
    let Some((segment, rest)) = next(path) else { return visit(here, value) };
    let length = here.len();
    match (value, segment) {
        (Value::Array(items), "*") => {
            for (index, item) in items.iter().enumerate() {
                push_index(here, index);
                walk(item, rest, here, visit);
                here.truncate(length);
            }
        }
        (Value::Object(fields), "*") => {
            for (name, field) in fields {
                push(here, name);
                walk(field, rest, here, visit);
                here.truncate(length);
            }
        }
        (value, name) => {
            let name = unescape(name);
            if let Some(found) = child(value, &name) {
                push(here, &name);
                walk(found, rest, here, visit);
                here.truncate(length);
            }
        }
    }
}

/// Calls `visit` with each value that matches `path`, mutably, and with its pointer.
pub fn each_mut(value: &mut Value, path: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    walk_mut(value, path, &mut String::new(), visit);
}

fn walk_mut(value: &mut Value, path: &str, here: &mut String, visit: &mut dyn FnMut(&str, &mut Value)) {
    let Some((segment, rest)) = next(path) else { return visit(here, value) };
    let length = here.len();
    match (value, segment) {
        (Value::Array(items), "*") => {
            for (index, item) in items.iter_mut().enumerate() {
                push_index(here, index);
                walk_mut(item, rest, here, visit);
                here.truncate(length);
            }
        }
        (Value::Object(fields), "*") => {
            for (name, field) in fields {
                push(here, name);
                walk_mut(field, rest, here, visit);
                here.truncate(length);
            }
        }
        (value, name) => {
            let name = unescape(name);
            if let Some(found) = child_mut(value, &name) {
                push(here, &name);
                walk_mut(found, rest, here, visit);
                here.truncate(length);
            }
        }
    }
}

/// The first segment, still escaped, and the rest.
pub(crate) fn next(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/')?;
    path.split_at_checked(path.find('/').unwrap_or(path.len()))
}

fn child<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn child_mut<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(fields) => fields.get_mut(name),
        Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// Sets the value at `pointer` to `new`, and creates missing objects on the way. A value on the way that is neither an
/// object nor a list is replaced; `-` appends to a list.
pub(crate) fn set(root: &mut Value, pointer: &str, new: Value) {
    let mut here = root;
    let mut path = pointer;
    while let Some((segment, rest)) = next(path) {
        path = rest;
        if !here.is_object() && !here.is_array() {
            *here = Value::Object(serde_json::Map::new());
        }
        here = match here {
            Value::Array(items) => {
                let index = segment.parse().unwrap_or(items.len()).min(items.len());
                if index == items.len() {
                    items.push(Value::Null);
                }
                match items.get_mut(index) {
                    Some(item) => item,
                    None => return,
                }
            }
            Value::Object(fields) => fields.entry(unescape(segment)).or_insert(Value::Null),
            _ => return,
        };
    }
    *here = new;
}

/// Removes the value at `pointer`.
pub(crate) fn remove(root: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, last) = pointer.rsplit_once('/')?;
    let name = unescape(last);
    match root.pointer_mut(parent)? {
        Value::Object(fields) => fields.remove(&name),
        Value::Array(items) => {
            let index: usize = name.parse().ok()?;
            (index < items.len()).then(|| items.remove(index))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_value_is_found_with_its_own_pointer() {
        let value = json!({"a": [{"b/c": 1}, {"d": 2}, {"b/c": 3}]});
        let mut found = Vec::new();
        each(&value, "/a/*/b~1c", &mut |pointer, value| found.push((pointer.to_owned(), value.clone())));
        assert_eq!(found, [("/a/0/b~1c".to_owned(), json!(1)), ("/a/2/b~1c".to_owned(), json!(3))]);
        assert!(found.iter().all(|(pointer, found)| value.pointer(pointer) == Some(found)));
    }

    #[test]
    fn a_segment_is_unescaped_once() {
        assert_eq!(unescape("a~1b~0c~01"), "a/b~c~1");
    }

    #[test]
    fn objects_are_made_on_the_way_and_lists_are_appended_to() {
        let mut value = json!({"list": [1], "nothing": null});
        set(&mut value, "/a/b~1c", json!(1));
        set(&mut value, "/list/-", json!(2));
        set(&mut value, "/list/0", json!(0));
        set(&mut value, "/nothing/x", json!(true));
        assert_eq!(value, json!({"a": {"b/c": 1}, "list": [0, 2], "nothing": {"x": true}}));
    }

    #[test]
    fn what_is_removed_is_handed_out() {
        let mut value = json!({"list": [1, 2], "a": {"b": 1}});
        assert_eq!(remove(&mut value, "/list/0"), Some(json!(1)));
        assert_eq!(remove(&mut value, "/a/b"), Some(json!(1)));
        assert_eq!(remove(&mut value, "/a/b"), None);
        assert_eq!(remove(&mut value, "/list/7"), None);
        assert_eq!(value, json!({"list": [2], "a": {}}));
    }
}
