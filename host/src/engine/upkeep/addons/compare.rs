//! Decides whether an object that was applied is still as it was applied.

use serde_json::Value;
use weft_core::keys::ADDON;
use weft_core::object::VirtualObject;

use crate::addons::Upkeep;

/// Whether nothing is to be applied: this version was, and what is to stay still stands there.
pub(super) fn is_in_place(current: &VirtualObject, wanted: &VirtualObject, upkeep: Upkeep) -> bool {
    let is_version = current.annotation(ADDON) == wanted.annotation(ADDON);
    let has = |(key, value): (&String, &Value)| {
        // The server decides about the version of the answer, and does not repeat it in each object.
        key == "apiVersion"
            || key == "kind"
            || current.fields().get(key).is_some_and(|found| covers(found, value))
    };
    is_version && (upkeep == Upkeep::AppliedOnce || wanted.fields().iter().all(has))
}

/// Whether `found` holds all of `wanted`; what others have added does not count.
fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|found| covers(found, value)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            wanted.iter().all(|value| found.iter().any(|found| covers(found, value)))
        }
        (found, wanted) => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_of_what_is_wanted_must_be_found_and_more_may() {
        let found = json!({"a": [{"name": "x", "more": 1}, {"name": "y"}], "b": 2, "c": 3});
        assert!(covers(&found, &json!({"a": [{"name": "x"}], "b": 2})));
        for wanted in [json!({"a": [{"name": "z"}]}), json!({"b": 3}), json!({"d": 1}), json!({"a": {}})] {
            assert!(!covers(&found, &wanted), "{wanted}");
        }
    }
}
