//! Computes the JSON Patch between two JSON values.

use serde_json::{Map, Value};

use crate::patch::Patch;
use crate::pointer;

/// Adds the operations that turn `before`, the value at `here`, into `after`.
pub(crate) fn diff(before: &Value, after: &Value, here: &mut String, patch: &mut Patch) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => objects(before, after, here, patch),
        (Value::Array(before), Value::Array(after)) => lists(before, after, here, patch),
        (before, after) if before == after => {}
        (_, after) => patch.replace(here, after),
    }
}

fn objects(before: &Map<String, Value>, after: &Map<String, Value>, here: &mut String, patch: &mut Patch) {
    let length = here.len();
    for (name, old) in before {
        pointer::push(here, name);
        match after.get(name) {
            Some(new) => diff(old, new, here, patch),
            None => patch.remove(here),
        }
        here.truncate(length);
    }
    for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        pointer::push(here, name);
        patch.add(here, new);
        here.truncate(length);
    }
}

/// Keeps the common beginning and end of both lists, so that one item more or less is one operation.
fn lists(before: &[Value], after: &[Value], here: &mut String, patch: &mut Patch) {
    let length = here.len();
    let (start, before, after) =
        if before.len() == after.len() { (0, before, after) } else { without_common_ends(before, after) };
    for (index, (old, new)) in before.iter().zip(after).enumerate() {
        pointer::push_index(here, start + index);
        diff(old, new, here, patch);
        here.truncate(length);
    }
    // From the end, so that the places of the others stay.
    for index in (after.len()..before.len()).rev() {
        pointer::push_index(here, start + index);
        patch.remove(here);
        here.truncate(length);
    }
    for (index, new) in after.iter().enumerate().skip(before.len()) {
        pointer::push_index(here, start + index);
        patch.add(here, new);
        here.truncate(length);
    }
}

/// The index of the first difference, and the items of each list that differ.
fn without_common_ends<'a>(before: &'a [Value], after: &'a [Value]) -> (usize, &'a [Value], &'a [Value]) {
    let start = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let (_, before) = before.split_at_checked(start).unwrap_or_default();
    let (_, after) = after.split_at_checked(start).unwrap_or_default();
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(old, new)| old == new).count();
    let (before, _) = before.split_at_checked(before.len() - end).unwrap_or_default();
    let (after, _) = after.split_at_checked(after.len() - end).unwrap_or_default();
    (start, before, after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn patch(before: &Value, after: &Value) -> Value {
        let mut patch = Patch::new();
        diff(before, after, &mut String::new(), &mut patch);
        serde_json::from_str(&patch.into_json()).unwrap()
    }

    #[test]
    fn only_what_differs_is_named() {
        let before = json!({"a": {"b": 1, "c/d": 2}, "e": [1, 2], "gone": null});
        let after = json!({"a": {"b": 1, "c/d": 3}, "e": [1, 2], "new": {}});
        assert_eq!(
            patch(&before, &after),
            json!([
                {"op": "replace", "path": "/a/c~1d", "value": 3},
                {"op": "remove", "path": "/gone"},
                {"op": "add", "path": "/new", "value": {}},
            ])
        );
    }

    #[test]
    fn one_item_more_or_less_is_one_operation() {
        let long = json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]);
        let short = json!([{"name": "a"}, {"name": "c"}]);
        assert_eq!(patch(&long, &short), json!([{"op": "remove", "path": "/1"}]));
        assert_eq!(patch(&short, &long), json!([{"op": "add", "path": "/1", "value": {"name": "b"}}]));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4_i32).prop_map(Value::from),
            "[a~/-]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[ab~/\"0-]{0,2}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_patch_makes_the_one_out_of_the_other(before in value(), after in value()) {
            let operations: json_patch::Patch = serde_json::from_value(patch(&before, &after)).unwrap();
            let mut result = before;
            json_patch::patch(&mut result, &operations).unwrap();
            prop_assert_eq!(result, after);
        }

        #[test]
        fn nothing_is_said_of_what_is_equal(value in value()) {
            prop_assert_eq!(patch(&value, &value), json!([]));
        }
    }
}
