//! Whether what no table of fields knows may stay: nothing in it may name an object, or reach the node.

use serde_json::Value;

use super::fields::Place;
use super::{is_unset, refuse};
use crate::fields::is_suspect;
use crate::verdict::Verdict;

/// Passes the field `name`, which no table knows, if it and what is inside it can be copied.
pub(super) fn judge(name: &str, value: &Value, at: &Place<'_>) -> Verdict<()> {
    if is_unset(value) {
        return Ok(());
    }
    if is_suspect(name, value) {
        let why = "it is not known here, and by its name it could reach what is not the tenant's; remove it, or upgrade \
                   to a version that knows it";
        return Err(refuse(&at.pointer(), why.to_owned()));
    }
    judge_inside(value, at)
}

/// Passes what is inside a value of which nothing is known.
pub(super) fn judge_inside(value: &Value, at: &Place<'_>) -> Verdict<()> {
    match value {
        Value::Object(entries) => {
            entries.iter().try_for_each(|(name, entry)| judge(name, entry, &Place::Field(at, name)))
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| judge_inside(item, &Place::Item(at, index)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_copied_if_all_inside_it_can_be() {
        let fine = json!({"mode": "Strict", "steps": [{"after": 3}, ["a"]]});
        assert!(judge("policy", &fine, &Place::Field(&Place::Root, "policy")).is_ok());
        let hold = judge(
            "policy",
            &json!({"steps": [{"a": 1}, {"secretRef": "a"}]}),
            &Place::Field(&Place::Root, "policy"),
        );
        let field = hold.unwrap_err().problem().field.clone();
        assert_eq!(field.as_deref(), Some("policy.steps[1].secretRef"));
    }
}
