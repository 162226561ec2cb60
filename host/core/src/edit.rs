//! How an extension changes a draft, and how large such a change may be.
//!
//! An object may be as large as a request to an API server. What an edit places is counted before it is placed:
//! a patch of a few kilobytes can copy a value that it has placed before thousands of times.

mod size;
mod text;

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use crate::object::Fields;
use size::Size;

/// Bytes of an edit, and of a draft with all that an edit places in it: what an API server reads of one request
/// (`MaxRequestBodyBytes` of the generic API server). etcd stores half of it.
const MAX_BYTES: usize = 3 * 1024 * 1024;
/// Values in the same: a small one takes a hundred times the memory of its text. Large objects have some ten thousand.
const MAX_VALUES: usize = 200_000;
/// Operations of one patch.
const MAX_OPERATIONS: usize = 10_000;
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
    /// More text than is read.
    #[error("its edit has more than {} MiB", MAX_BYTES / 1024 / 1024)]
    Text,
    /// More than an API server would take, or copies of copies.
    #[error("the draft with all that its edit places has more than {} MiB", MAX_BYTES / 1024 / 1024)]
    Bytes,
    /// Many small values.
    #[error("the draft with all that its edit places has more than {MAX_VALUES} values")]
    Values,
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

impl Error {
    /// Whether the edit does more than it may, as opposed to something that cannot be done.
    pub fn is_of_size(&self) -> bool {
        match self {
            Self::Text | Self::Bytes | Self::Values | Self::Operations | Self::Touched | Self::Depth => true,
            Self::Unfit(_) | Self::NoObject => false,
        }
    }
}

/// Passes if the text of an edit may be read: as values it takes many times its memory.
///
/// # Errors
/// It has more bytes or values than an edit may have.
pub fn check_text(text: &str) -> Result<(), Error> {
    match text {
        text if text.len() > MAX_BYTES => Err(Error::Text),
        // One value takes two bytes of text at least.
        text if text.len() > MAX_VALUES && text::has_more_values(text, MAX_VALUES) => Err(Error::Values),
        _ => Ok(()),
    }
}

impl Edit {
    /// The draft with this edit.
    ///
    /// # Errors
    /// It cannot be carried out, or does more than an edit may.
    pub fn apply(&self, draft: &Fields) -> Result<Fields, Error> {
        let result = match self {
            Self::Unchanged => return Ok(draft.clone()),
            Self::Whole(fields) => {
                Placed::default().place(Size::of_fields(fields))?;
                return Ok(fields.clone());
            }
            Self::Merge(patch) => {
                Placed::on(draft).place(Size::of(patch))?;
                let mut result = Value::Object(draft.clone());
                json_patch::merge(&mut result, patch);
                result
            }
            Self::Patch(patch) => patched(draft, patch)?,
        };
        match result {
            Value::Object(fields) => Ok(fields),
            _ => Err(Error::NoObject),
        }
    }
}

/// What an edit has placed so far, with what was there before. What it takes away is not subtracted: a value that is
/// placed again and again costs its time each time.
#[derive(Default)]
struct Placed(Size);

impl Placed {
    fn on(draft: &Fields) -> Self {
        Self(Size::of_fields(draft))
    }

    /// Counts what is about to be placed.
    fn place(&mut self, more: Size) -> Result<(), Error> {
        self.0 = self.0.and(more);
        match self.0 {
            Size { bytes, .. } if bytes > MAX_BYTES => Err(Error::Bytes),
            Size { values, .. } if values > MAX_VALUES => Err(Error::Values),
            _ => Ok(()),
        }
    }
}

fn patched(draft: &Fields, patch: &[PatchOperation]) -> Result<Value, Error> {
    if patch.len() > MAX_OPERATIONS {
        return Err(Error::Operations);
    }
    let (mut placed, mut touched) = (Placed::on(draft), 0_usize);
    let mut value = Value::Object(draft.clone());
    for operation in patch {
        let (source, is_new) = match operation {
            PatchOperation::Add(add) => (Some(&add.value), true),
            PatchOperation::Replace(replace) => (Some(&replace.value), true),
            PatchOperation::Copy(copy) => (value.pointer(copy.from.as_str()), true),
            PatchOperation::Move(moved) => (value.pointer(moved.from.as_str()), false),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => (None, false),
        };
        if let Some(source) = source.filter(|_| is_new) {
            // The name of the field in which it is placed.
            let name = operation.path().last().map_or(0, |name| name.encoded().len() + 4);
            placed.place(Size::of(source).and(Size { bytes: name, values: 0 }))?;
        }
        touched = touched.saturating_add(source.map_or(0, count)).saturating_add(shifted(&value, operation));
        if touched > MAX_TOUCHED {
            return Err(Error::Touched);
        }
        if source.is_some_and(|source| depth(source) + operation.path().count() > MAX_DEPTH) {
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
    fn a_text_is_read_if_it_is_small_enough() {
        assert!(check_text(&format!("\"{}\"", "x".repeat(MAX_BYTES - 2))).is_ok());
        assert!(matches!(check_text(&" ".repeat(MAX_BYTES + 1)), Err(Error::Text)));
        let list = |number: usize| format!("[{}0]", "0,".repeat(number));
        assert!(check_text(&list(MAX_VALUES - 2)).is_ok());
        assert!(matches!(check_text(&list(MAX_VALUES)), Err(Error::Values)));
    }

    #[test]
    fn copies_of_copies_end() {
        let wide = (0..40).map(|_| json!({"op": "copy", "from": "/spec", "path": "/spec/x/-"})).collect();
        assert!(matches!(patch(wide), Err(Error::Bytes | Error::Values | Error::Depth)));
    }

    /// The operation with a value of these bytes, in `/spec/t`, before it.
    fn with_text(bytes: usize, operations: impl Iterator<Item = Value>) -> Result<Fields, Error> {
        let text = json!({"op": "add", "path": "/spec/t", "value": "x".repeat(bytes)});
        patch([text].into_iter().chain(operations).collect())
    }

    #[test]
    fn bytes_are_counted_before_they_are_placed() {
        let copies = |number: usize| {
            (0..number).map(|turn| json!({"op": "copy", "from": "/spec/t", "path": format!("/spec/c{turn}")}))
        };
        assert!(with_text(400_000, copies(6)).is_ok());
        assert!(matches!(with_text(400_000, copies(7)), Err(Error::Bytes)));
        // One place, written again and again: nothing grows but the time it takes.
        let again = (0..9_000).map(|_| json!({"op": "copy", "from": "/spec/t", "path": "/spec/c"}));
        assert!(matches!(with_text(400_000, again), Err(Error::Bytes)));
        // Long names count like what they name.
        let name = "n".repeat(MAX_BYTES);
        let named = json!([{"op": "add", "path": format!("/spec/{name}"), "value": 1}]);
        assert!(matches!(patch(named), Err(Error::Bytes)));
    }

    #[test]
    fn every_sort_of_edit_is_bounded_by_the_same_size() {
        let draft = json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(MAX_BYTES / 2)}});
        let draft = draft.as_object().unwrap();
        let applied = |edit: Edit| edit.apply(draft).map(|fields| Size::of_fields(&fields).bytes);
        let more = |bytes: usize| json!({"data": {"b": "x".repeat(bytes)}});
        let add = |bytes| json!([{"op": "add", "path": "/data/b", "value": more(bytes)["data"]["b"]}]);
        let patch = |bytes| Edit::Patch(serde_json::from_value(add(bytes)).unwrap());
        for edit in [Edit::Merge, |more: Value| Edit::Whole(more.as_object().unwrap().clone())] {
            assert!(applied(edit(more(MAX_BYTES / 3))).unwrap() <= MAX_BYTES);
            assert!(matches!(applied(edit(more(MAX_BYTES))), Err(Error::Bytes)));
        }
        assert!(applied(patch(MAX_BYTES / 3)).is_ok());
        assert!(matches!(applied(patch(MAX_BYTES / 2)), Err(Error::Bytes)));
        assert!(matches!(applied(Edit::Merge(more(MAX_BYTES / 2))), Err(Error::Bytes)));
        let many = json!({"data": vec![0; MAX_VALUES]});
        assert!(matches!(applied(Edit::Merge(many)), Err(Error::Values)));
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
