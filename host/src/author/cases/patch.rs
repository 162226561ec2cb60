//! The expected edit of a plugin.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use weft_core::causes::causes;
use weft_core::edit::Edit;
use weft_core::object::Fields;
use weft_core::verdict::Word;

use crate::author::cases::Outcome;

/// What `expect.patch` can be.
const ALLOWED: &str = "expected `none`, or a list of JSON Patch operations such as \
                       `[{op: add, path: /metadata/labels/team, value: web}]`";

/// The expected edit.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// No changes.
    None,
    /// Operations of RFC 6902 that have the same result as the plugin's edit, whatever its form.
    Operations(Vec<Value>),
}

impl Patch {
    /// The plugin's edit; none if there is no object.
    pub(super) fn of(outcome: &Outcome) -> Option<Self> {
        if outcome.is_unchanged && outcome.verdict == Word::Apply {
            return Some(Self::None);
        }
        let mut operations = Vec::new();
        add_operations(&mut operations, "", &super::plain(outcome.draft.clone()), outcome.wanted.as_ref()?);
        Some(Self::Operations(operations))
    }

    /// The draft with these operations, or why they do not fit it.
    pub(super) fn apply(&self, draft: &Fields) -> Result<Fields, String> {
        match self {
            Self::None => Ok(draft.clone()),
            Self::Operations(operations) => edit(operations)
                .map_err(|error| error.to_string())?
                .apply(draft)
                .map_err(|error| causes(&error)),
        }
    }
}

impl Serialize for Patch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Operations(operations) => operations.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Patch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(word) if word == "none" => Ok(Self::None),
            Value::Array(operations) => match edit(&operations) {
                Ok(_) => Ok(Self::Operations(operations)),
                Err(error) => Err(D::Error::custom(format!("{error}; {ALLOWED}"))),
            },
            _ => Err(D::Error::custom(ALLOWED)),
        }
    }
}

fn edit(operations: &[Value]) -> serde_json::Result<Edit> {
    serde_json::from_value(Value::from(operations)).map(Edit::Patch)
}

/// Adds the operations that turn `from` into `to`, both at the pointer `at`.
fn add_operations(operations: &mut Vec<Value>, at: &str, from: &Fields, to: &Fields) {
    let place = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    let gone = from.keys().filter(|name| !to.contains_key(*name));
    operations.extend(gone.map(|name| json!({"op": "remove", "path": place(name)})));
    for (name, value) in to {
        match (from.get(name), value) {
            (Some(old), value) if old == value => {}
            (Some(Value::Object(old)), Value::Object(value)) => {
                add_operations(operations, &place(name), old, value);
            }
            (old, value) => {
                let operation = if old.is_some() { "replace" } else { "add" };
                operations.push(json!({"op": operation, "path": place(name), "value": value}));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        serde_saphyr::from_str(text).unwrap()
    }

    fn patch(text: &str) -> Result<Patch, String> {
        serde_saphyr::from_str(text).map_err(|error: serde_saphyr::Error| error.to_string())
    }

    #[test]
    fn a_patch_is_none_or_operations_and_is_written_as_it_was_read() {
        for text in ["none", "[{op: remove, path: /spec/a}]", "[]"] {
            let read = patch(text).unwrap();
            assert_eq!(patch(&serde_saphyr::to_string(&read).unwrap()).unwrap(), read, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        for text in ["some", "{op: add}", "[{op: put, path: /a}]", "[{path: /a}]", "[add]", "3"] {
            let why = patch(text).unwrap_err();
            assert!(why.contains("`none`") && why.contains("{op: add, path:"), "{text}: {why}");
        }
    }

    #[test]
    fn the_operations_between_two_objects_turn_one_into_the_other() {
        let from = fields("{same: 1, gone: 2, metadata: {labels: {a: x}}, list: [1]}");
        let to = fields("{same: 1, metadata: {labels: {a: y, 'b/c~d': z}}, list: [1, 2], new: {}}");
        let mut operations = Vec::new();
        add_operations(&mut operations, "", &from, &to);
        assert_eq!(Patch::Operations(operations.clone()).apply(&from), Ok(to));
        assert!(operations.iter().any(|operation| operation["path"] == "/metadata/labels/b~1c~0d"));
    }
}
