//! Compares an object with an expected part of it.

use serde_json::Value;
use weft_core::object::Fields;

/// One field that differs.
#[derive(Debug, PartialEq)]
pub(super) struct Miss {
    /// `spec.containers[0].image`.
    field: String,
    /// Null if the field must be absent.
    expected: Value,
    /// None if the field is absent.
    found: Option<Value>,
}

/// The fields of `expected` that differ in `found`: objects are compared by field, lists item by item and by length. Null
/// means that the field is absent.
pub(super) fn misses(expected: &Fields, found: &Fields) -> Vec<Miss> {
    let mut misses = Vec::new();
    compare_fields(&mut misses, "", expected, found);
    misses
}

/// The fields of `expected` with their values in `found`, without those that are absent.
pub(super) fn updated(expected: &Fields, found: &Fields) -> Fields {
    let update = |(name, expected): (&String, &Value)| match (expected, found.get(name)) {
        (Value::Null, None) => Some((name.clone(), Value::Null)),
        (expected, found) => Some((name.clone(), updated_value(expected, found?))),
    };
    expected.iter().filter_map(update).collect()
}

impl Miss {
    /// The expected and the found value, each with the field.
    pub(super) fn sides(&self) -> (String, String) {
        let side = |value: Option<&Value>| {
            let value = value.filter(|value| !value.is_null());
            format!("{}: {}", self.field, value.map_or_else(|| "nothing".to_owned(), Value::to_string))
        };
        (side(Some(&self.expected)), side(self.found.as_ref()))
    }
}

fn compare_fields(misses: &mut Vec<Miss>, at: &str, expected: &Fields, found: &Fields) {
    for (name, expected) in expected {
        // A name with a dot in it could be two fields.
        let field = match (at, name.contains(['.', '/'])) {
            (at, true) => format!("{at}[{name:?}]"),
            ("", false) => name.clone(),
            (at, false) => format!("{at}.{name}"),
        };
        compare(misses, field, expected, found.get(name));
    }
}

fn compare(misses: &mut Vec<Miss>, field: String, expected: &Value, found: Option<&Value>) {
    match (expected, found) {
        (Value::Object(expected), Some(Value::Object(found))) => {
            compare_fields(misses, &field, expected, found);
        }
        (Value::Array(expected), Some(Value::Array(found))) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(misses, format!("{field}[{index}]"), expected, Some(found));
            }
        }
        (Value::Null, None) => {}
        (expected, Some(found)) if expected == found => {}
        (expected, found) => misses.push(Miss { field, expected: expected.clone(), found: found.cloned() }),
    }
}

fn updated_value(expected: &Value, found: &Value) -> Value {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => Value::Object(updated(expected, found)),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            expected.iter().zip(found).map(|(expected, found)| updated_value(expected, found)).collect()
        }
        (_, found) => found.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        serde_saphyr::from_str(text).unwrap()
    }

    fn shown(expected: &str, found: &str) -> Vec<(String, String)> {
        misses(&fields(expected), &fields(found)).iter().map(Miss::sides).collect()
    }

    #[test]
    fn fields_that_are_not_expected_are_not_compared() {
        let found = "{a: 1, spec: {b: [{name: x, image: i}, 2], c: 3}}";
        assert_eq!(shown("{}", found), []);
        assert_eq!(shown("{spec: {b: [{name: x}, 2]}, gone: null}", found), []);
    }

    #[test]
    fn a_difference_names_its_field() {
        let sides = |expected: &str, found: &str| vec![(expected.to_owned(), found.to_owned())];
        let found = "{spec: {b: [{name: x}], c: 3}, metadata: {annotations: {example.com/a: z}}}";
        assert_eq!(
            shown("{spec: {b: [{name: z}]}}", found),
            sides("spec.b[0].name: \"z\"", "spec.b[0].name: \"x\"")
        );
        assert_eq!(shown("{spec: {d: 1}}", found), sides("spec.d: 1", "spec.d: nothing"));
        assert_eq!(shown("{spec: {c: null}}", found), sides("spec.c: nothing", "spec.c: 3"));
        assert_eq!(
            shown("{metadata: {annotations: {example.com/a: x}}}", found),
            sides(
                "metadata.annotations[\"example.com/a\"]: \"x\"",
                "metadata.annotations[\"example.com/a\"]: \"z\""
            )
        );
    }

    #[test]
    fn lists_have_the_same_length() {
        assert_eq!(shown("{a: [1]}", "{a: [1, 2]}"), [("a: [1]".to_owned(), "a: [1,2]".to_owned())]);
    }

    #[test]
    fn an_update_adds_no_fields() {
        let found = fields("{a: 2, b: {c: 3, d: 4}, list: [{x: 1, y: 2}], other: 5}");
        let before = fields("{a: 1, b: {c: 1}, list: [{x: 0}], gone: 1, never: null}");
        assert_eq!(updated(&before, &found), fields("{a: 2, b: {c: 3}, list: [{x: 1}], never: null}"));
        assert_eq!(shown("{a: 1}", "{a: 2}").len(), 1);
    }
}
