//! How an extension changes a draft, and how large such a change may be.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use crate::object::Fields;

/// Operations of one patch.
const MAX_OPERATIONS: usize = 10_000;
/// Values that one patch may copy: each `copy` of a copy doubles what there is.
const MAX_COPIED: usize = 100_000;
/// Values that one patch may touch in all: what is added, moved or taken out, and in a list all that it is
/// put before. Nobody else bounds the time that this takes.
const MAX_TOUCHED: usize = 10_000_000;
/// How deep a value may lie; JSON text is never read deeper than 128.
const MAX_DEPTH: usize = 160;

/// How a draft is changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Not at all.
    Unchanged,
    /// RFC 6902.
    Patch(Patch),
    /// RFC 7386.
    Merge(Value),
    /// The whole object.
    Whole(Fields),
}

/// Why an edit cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that is not there, or a `test` that fails.
    #[error("its patch does not fit the draft")]
    Unfit(#[source] json_patch::PatchError),
    /// Too many operations.
    #[error("its patch has more than {MAX_OPERATIONS} operations")]
    Operations,
    /// Copies of copies.
    #[error("its patch copies more than {MAX_COPIED} values")]
    Copied,
    /// Long lists shifted again and again.
    #[error("its patch moves values about more than {MAX_TOUCHED} times")]
    Touched,
    /// Values in values.
    #[error("its patch nests values more than {MAX_DEPTH} deep")]
    Depth,
    /// The edit replaced the object by something else.
    #[error("its edit leaves no object")]
    NoObject,
}

impl Edit {
    /// The draft with this edit.
    pub fn apply(&self, draft: &Fields) -> Result<Fields, Error> {
        let result = match self {
            Self::Unchanged => return Ok(draft.clone()),
            Self::Whole(fields) => return Ok(fields.clone()),
            Self::Merge(patch) => {
                let mut result = Value::Object(draft.clone());
                json_patch::merge(&mut result, patch);
                result
            }
            Self::Patch(patch) => patched(Value::Object(draft.clone()), patch)?,
        };
        match result {
            Value::Object(fields) => Ok(fields),
            _ => Err(Error::NoObject),
        }
    }
}

fn patched(mut value: Value, patch: &[PatchOperation]) -> Result<Value, Error> {
    if patch.len() > MAX_OPERATIONS {
        return Err(Error::Operations);
    }
    let (mut copied, mut touched) = (0, 0_usize);
    for operation in patch {
        let placed = match operation {
            PatchOperation::Add(add) => Some(&add.value),
            PatchOperation::Replace(replace) => Some(&replace.value),
            PatchOperation::Move(moved) => value.pointer(moved.from.as_str()),
            PatchOperation::Copy(copy) => {
                value.pointer(copy.from.as_str()).inspect(|from| copied += count(from))
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
        };
        if copied > MAX_COPIED {
            return Err(Error::Copied);
        }
        touched = touched.saturating_add(placed.map_or(0, count)).saturating_add(shifted(&value, operation));
        if touched > MAX_TOUCHED {
            return Err(Error::Touched);
        }
        if placed.is_some_and(|placed| depth(placed) + operation.path().count() > MAX_DEPTH) {
            return Err(Error::Depth);
        }
        json_patch::patch_unsafe(&mut value, std::slice::from_ref(operation)).map_err(Error::Unfit)?;
    }
    Ok(value)
}

/// How many elements of lists an operation may shift.
fn shifted(value: &Value, operation: &PatchOperation) -> usize {
    let from = match operation {
        PatchOperation::Move(moved) => Some(&moved.from),
        _ => None,
    };
    let parents = from.into_iter().map(|from| from.parent()).chain([operation.path().parent()]);
    let lists = parents.flatten().filter_map(|parent| value.pointer(parent.as_str())?.as_array());
    lists.map(Vec::len).sum()
}

/// How many values there are in `value`, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// How many levels `value` has.
fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(operations: Value) -> Result<Fields, Error> {
        let draft = json!({"metadata": {"name": "a"}, "spec": {"x": [1]}});
        let patch = serde_json::from_value(operations).unwrap();
        Edit::Patch(patch).apply(draft.as_object().unwrap())
    }

    #[test]
    fn a_patch_is_carried_out_whole_or_not_at_all() {
        let result = patch(json!([{"op": "add", "path": "/spec/x/-", "value": 2}])).unwrap();
        assert_eq!(Value::Object(result), json!({"metadata": {"name": "a"}, "spec": {"x": [1, 2]}}));
        assert!(matches!(patch(json!([{"op": "remove", "path": "/spec/y"}])), Err(Error::Unfit(_))));
        assert!(matches!(patch(json!([{"op": "replace", "path": "", "value": 1}])), Err(Error::NoObject)));
    }

    #[test]
    fn copies_of_copies_end() {
        let wide = (0..40).map(|_| json!({"op": "copy", "from": "/spec", "path": "/spec/x/-"})).collect();
        assert!(matches!(patch(wide), Err(Error::Copied | Error::Depth)));
    }

    #[test]
    fn lists_are_not_shifted_for_ever() {
        let list = json!({"op": "add", "path": "/spec/x", "value": vec![0; 20_000]});
        let first = json!({"op": "add", "path": "/spec/x/0", "value": 0});
        let around = json!({"op": "move", "from": "/spec/x/0", "path": "/spec/x/-"});
        let remove = json!({"op": "remove", "path": "/spec/x/0"});
        for again in [first, around, remove] {
            let often: Value = [list.clone()].into_iter().chain(vec![again; 600]).collect();
            assert!(matches!(patch(often), Err(Error::Touched)));
        }
    }

    #[test]
    fn values_in_values_end() {
        let deeper = json!({"op": "move", "from": "/spec", "path": "/b"});
        let back = |depth: usize| json!({"op": "add", "path": "/spec", "value": nested(depth)});
        assert!(patch(json!([back(100)])).is_ok());
        let path = format!("/spec{}", "/a".repeat(100));
        let added = json!({"op": "add", "path": path, "value": nested(100)});
        assert!(matches!(patch(json!([back(100), added, deeper])), Err(Error::Depth)));
    }

    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |inner, _| json!({"a": inner}))
    }
}
