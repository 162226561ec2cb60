//! Reads objects off the wire without the fields that nobody here needs.
//!
//! `managedFields` is often the larger part of an object: it is passed over, not read and thrown away.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use weft_core::object::{Fields, Object};

/// The object in `text`.
pub(crate) fn object<S>(text: &[u8]) -> Result<Object<S>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let fields = Whole.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Object::new(fields))
}

/// A whole object.
struct Whole;

/// Its `metadata`.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = match name.as_str() {
                "metadata" => Value::Object(map.next_value_seed(Metadata)?),
                _ => map.next_value()?,
            };
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object's metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "managedFields" {
                map.next_value::<IgnoredAny>()?;
            } else {
                fields.insert(name, map.next_value()?);
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weft_core::object::Host;

    #[test]
    fn everything_but_managed_fields_is_kept() {
        let text = json!({
            "kind": "Pod",
            "metadata": {"name": "a", "managedFields": [{"fieldsV1": {"f:spec": {}}}], "labels": {"managedFields": "x"}},
            "spec": {"managedFields": 1},
        });
        let object: Object<Host> = object(text.to_string().as_bytes()).unwrap();
        let expected = json!({
            "kind": "Pod", "metadata": {"name": "a", "labels": {"managedFields": "x"}}, "spec": {"managedFields": 1},
        });
        assert_eq!(object.into_json(), expected);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in ["[]", "null", "{", "{} x", r#"{"metadata": 1}"#] {
            assert!(object::<Host>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
