//! How large a JSON value is: as text, and in values, each of which takes memory of its own.

use serde_json::{Map, Number, Value};

/// Levels that are looked into. JSON text is never read deeper than 128.
const ENDS_AT: usize = 256;

/// The size of a JSON value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Of its text, without spaces.
    pub(super) bytes: usize,
    /// Itself and what is in it.
    pub(super) values: usize,
}

impl Size {
    /// The size of an object with these fields.
    pub(super) fn of_fields(fields: &Map<String, Value>) -> Self {
        let mut size = Self::default();
        size.add_fields(fields, 0);
        size
    }

    /// The size of `value`.
    pub(super) fn of(value: &Value) -> Self {
        let mut size = Self::default();
        size.add_value(value, 0);
        size
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            values: self.values.saturating_add(other.values),
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn add_value(&mut self, value: &Value, level: usize) {
        if let Value::Object(fields) = value {
            return self.add_fields(fields, level);
        }
        self.values = self.values.saturating_add(1);
        match value {
            Value::Null | Value::Bool(true) => self.add(4),
            Value::Bool(false) => self.add(5),
            Value::Number(number) => self.add(digits(number)),
            Value::String(text) => self.add(quoted(text)),
            Value::Array(items) => {
                self.add(2 + items.len().saturating_sub(1));
                for item in items.iter().filter(|_| level < ENDS_AT) {
                    self.add_value(item, level + 1);
                }
            }
            Value::Object(_) => {}
        }
    }

    fn add_fields(&mut self, fields: &Map<String, Value>, level: usize) {
        self.values = self.values.saturating_add(1);
        self.add(2 + fields.len().saturating_sub(1));
        for (name, value) in fields {
            self.add(quoted(name) + 1);
            if level < ENDS_AT {
                self.add_value(value, level + 1);
            }
        }
    }
}

/// The length of a number, without writing it where that is easy.
fn digits(number: &Number) -> usize {
    match number.as_u64() {
        Some(number) => number.checked_ilog10().map_or(1, |log| log as usize + 1),
        None => number.to_string().len(),
    }
}

/// The length of a string in quotes, with what JSON escapes.
fn quoted(text: &str) -> usize {
    let length = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(length).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e30..1e30).prop_map(Value::from),
            "[\u{0}-\u{2f}\\\\é]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::hash_map("[a\"\n]{0,3}", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_text(value in any_json()) {
            prop_assert_eq!(Size::of(&value).bytes, value.to_string().len());
        }
    }

    #[test]
    fn each_value_counts_one() {
        assert_eq!(Size::of(&json!({"a": [1, {}], "b": "x"})).values, 5);
    }
}
