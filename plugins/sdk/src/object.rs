//! A Kubernetes object that is parsed lazily, field by field, and records what is changed.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::diff::diff;
use crate::patch::Patch;
use crate::{Result, fail, pointer};

const LABELS: &str = "labels";
const ANNOTATIONS: &str = "annotations";

/// A Kubernetes object as JSON.
///
/// A top-level field is parsed when a rule first uses it: a rule that sets a label does not pay for `spec`. Only fields
/// that were borrowed mutably are compared afterwards. Fields that the rule does not know stay as they are.
#[derive(Debug)]
pub struct Object {
    text: String,
    fields: OnceCell<Vec<Field>>,
    is_unreadable: Cell<bool>,
    pushed: Patch,
}

/// A top-level field.
#[derive(Debug)]
struct Field {
    name: String,
    /// Its range in the JSON, if it is there.
    place: Option<Range<usize>>,
    /// The current value, once it has been parsed.
    now: OnceCell<Option<Value>>,
    /// Whether it was borrowed mutably.
    is_watched: bool,
    /// The value before that.
    before: Option<Value>,
}

impl Object {
    /// An object from its JSON.
    pub fn from_json(text: String) -> Self {
        Self { text, fields: OnceCell::new(), is_unreadable: Cell::new(false), pushed: Patch::new() }
    }

    /// The JSON that weft sent.
    pub fn as_json(&self) -> &str {
        &self.text
    }

    /// Parses the object into a type that has only the fields that matter. This is the cheapest way to read a few fields of
    /// `spec`, because nothing else is kept. It does not see changes.
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T> {
        Ok(serde_json::from_str(&self.text)?)
    }

    /// The whole object with all changes.
    pub fn to_value(&self) -> Value {
        let fields = self.fields().iter();
        let fields = fields.filter_map(|field| Some((field.name.clone(), self.read_field(field)?.clone())));
        Value::Object(fields.collect())
    }

    /// The value at a JSON pointer.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        let (name, rest) = pointer::next(pointer)?;
        self.field(&pointer::unescape(name))?.pointer(rest)
    }

    /// The string at a JSON pointer.
    pub fn get_str(&self, pointer: &str) -> Option<&str> {
        self.get(pointer).and_then(Value::as_str)
    }

    /// The items of the list at a JSON pointer; empty if there is no list.
    pub fn items(&self, pointer: &str) -> &[Value] {
        self.get(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Every value that matches a path with `*`, with its pointer. The path must begin with the name of a field.
    pub fn find(&self, path: &str) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        if let Some((name, rest)) = pointer::next(path)
            && let Some(value) = self.field(&pointer::unescape(name))
        {
            pointer::each(value, rest, &mut |below, value| found.push((format!("/{name}{below}"), value)));
        }
        found
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.get_str("/metadata/name").unwrap_or_default()
    }

    /// `metadata.namespace`; empty if there is none.
    pub fn namespace(&self) -> &str {
        self.get_str("/metadata/namespace").unwrap_or_default()
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata_map(LABELS)?.get(key)?.as_str()
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata_map(ANNOTATIONS)?.get(key)?.as_str()
    }

    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        strings(self.metadata_map(LABELS))
    }

    /// All annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        strings(self.metadata_map(ANNOTATIONS))
    }

    fn metadata_map(&self, field: &str) -> Option<&Map<String, Value>> {
        self.field("metadata")?.get(field)?.as_object()
    }

    /// The value at a JSON pointer, mutably.
    pub fn get_mut(&mut self, pointer: &str) -> Option<&mut Value> {
        let (name, rest) = pointer::next(pointer)?;
        self.change(name)?.as_mut()?.pointer_mut(rest)
    }

    /// Sets the value at a JSON pointer, and creates missing objects on the way; `-` appends to a list.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) {
        if let Some((name, rest)) = pointer::next(pointer)
            && let Some(field) = self.change(name)
        {
            pointer::set(field.get_or_insert(Value::Null), rest, value.into());
        }
    }

    /// Removes the value at a JSON pointer.
    pub fn remove(&mut self, pointer: &str) -> Option<Value> {
        let (name, rest) = pointer::next(pointer)?;
        // Nothing is compared later if there is nothing to take out.
        self.get(pointer)?;
        let field = self.change(name)?;
        if rest.is_empty() { field.take() } else { pointer::remove(field.as_mut()?, rest) }
    }

    /// Calls `visit` with every value that matches a path with `*`, mutably, and with its pointer. The path must begin with
    /// the name of a field.
    pub fn each_mut(&mut self, path: &str, mut visit: impl FnMut(&str, &mut Value)) {
        if let Some((name, rest)) = pointer::next(path)
            && let Some(Some(value)) = self.change(name)
        {
            pointer::each_mut(value, rest, &mut |below, value| visit(&format!("/{name}{below}"), value));
        }
    }

    /// Sets a label.
    pub fn set_label(&mut self, key: &str, value: impl Into<String>) {
        self.set(&metadata_pointer(LABELS, key), value.into());
    }

    /// Removes a label.
    pub fn remove_label(&mut self, key: &str) -> Option<String> {
        self.remove_text(&metadata_pointer(LABELS, key))
    }

    /// Sets an annotation.
    pub fn set_annotation(&mut self, key: &str, value: impl Into<String>) {
        self.set(&metadata_pointer(ANNOTATIONS, key), value.into());
    }

    /// Removes an annotation.
    pub fn remove_annotation(&mut self, key: &str) -> Option<String> {
        self.remove_text(&metadata_pointer(ANNOTATIONS, key))
    }

    fn remove_text(&mut self, pointer: &str) -> Option<String> {
        match self.remove(pointer)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Adds operations to the edit, before those that follow from changes. The object does not show them: this is for rules
    /// that read with [`Self::read`] only.
    pub fn push(&mut self, operations: &Patch) {
        self.pushed.append(operations);
    }

    /// The changes as a patch; none if nothing changed.
    pub(crate) fn into_edit(self) -> Result<Option<Patch>> {
        if self.is_unreadable.get() {
            return Err(fail("InvalidObject", "an object in the request is not a JSON object"));
        }
        let mut patch = self.pushed;
        for field in self.fields.into_inner().into_iter().flatten() {
            if !field.is_watched {
                continue;
            }
            let mut here = pointer::below("", &field.name);
            match (&field.before, field.now.into_inner().flatten()) {
                (Some(before), Some(now)) => diff(before, &now, &mut here, &mut patch),
                (Some(_), None) => patch.remove(&here),
                (None, Some(now)) => patch.add(&here, &now),
                (None, None) => {}
            }
        }
        Ok((!patch.is_empty()).then_some(patch))
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.read_field(self.fields().iter().find(|field| field.name == name)?)
    }

    fn read_field<'a>(&'a self, field: &'a Field) -> Option<&'a Value> {
        field.now.get_or_init(|| self.parse(field.place.clone())).as_ref()
    }

    fn fields(&self) -> &[Field] {
        self.fields.get_or_init(|| {
            if let Ok(places) = serde_json::from_str::<Places<'_>>(&self.text) {
                return places.within(&self.text);
            }
            self.is_unreadable.set(true);
            Vec::new()
        })
    }

    fn parse(&self, place: Option<Range<usize>>) -> Option<Value> {
        let value = serde_json::from_str(self.text.get(place?)?);
        self.is_unreadable.set(self.is_unreadable.get() || value.is_err());
        value.ok()
    }

    /// The field of this name (a segment of a pointer), to change, add or remove. It is created if it is missing.
    fn change(&mut self, segment: &str) -> Option<&mut Option<Value>> {
        let name = pointer::unescape(segment);
        // Has it read, so that there is something to change.
        let _ = self.field(&name);
        let fields = self.fields.get_mut()?;
        let index = fields.iter().position(|field| field.name == name).unwrap_or(fields.len());
        if index == fields.len() {
            fields.push(Field {
                name,
                place: None,
                now: OnceCell::from(None),
                is_watched: false,
                before: None,
            });
        }
        let field = fields.get_mut(index)?;
        if !field.is_watched {
            field.is_watched = true;
            field.before = field.now.get().cloned().flatten();
        }
        field.now.get_mut()
    }
}

impl From<Value> for Object {
    fn from(value: Value) -> Self {
        Self::from_json(value.to_string())
    }
}

/// The top-level fields of an object, not parsed yet.
struct Places<'a>(Vec<(String, &'a str)>);

impl Places<'_> {
    /// The fields, with the ranges of their values in `text`.
    fn within(self, text: &str) -> Vec<Field> {
        let place = |value: &str| {
            let start = value.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
            Some(start..start + value.len())
        };
        let fields = self.0.into_iter().map(|(name, value)| Field {
            name,
            place: place(value),
            now: OnceCell::new(),
            is_watched: false,
            before: None,
        });
        fields.collect()
    }
}

impl<'de> Deserialize<'de> for Places<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Places<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> core::result::Result<Places<'de>, A::Error> {
                let mut places = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    places.push((name, value.get()));
                }
                Ok(Places(places))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn strings(map: Option<&Map<String, Value>>) -> impl Iterator<Item = (&str, &str)> {
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

fn metadata_pointer(field: &str, key: &str) -> String {
    let mut pointer = format!("/metadata/{field}");
    pointer::push(&mut pointer, key);
    pointer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edit(object: Object) -> Option<Value> {
        let patch = object.into_edit().unwrap()?;
        Some(serde_json::from_str(&patch.into_json()).unwrap())
    }

    #[test]
    fn an_object_that_is_only_read_is_unchanged() {
        let object = Object::from(json!({"metadata": {"name": "a"}, "spec": {"x": 1}}));
        assert_eq!(object.name(), "a");
        assert!(object.fields()[1].now.get().is_none(), "spec was not used");
        assert_eq!(edit(object), None);
    }

    #[test]
    fn a_typed_read_makes_no_tree() {
        let object = Object::from(json!({"spec": {"x": 1, "y": [1, 2, 3]}}));
        let x: std::collections::BTreeMap<String, Value> = object.read().unwrap();
        assert_eq!(x["spec"]["x"], 1);
        assert!(object.fields.get().is_none());
    }

    #[test]
    fn labels_are_set_where_there_are_none() {
        let mut object = Object::from(json!({"metadata": {"name": "a"}}));
        object.set_label("example.com/team", "web");
        assert_eq!(object.label("example.com/team"), Some("web"));
        assert_eq!(
            edit(object),
            Some(json!([{"op": "add", "path": "/metadata/labels", "value": {"example.com/team": "web"}}]))
        );
    }

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let mut object = Object::from(json!({"spec": {"x": 1}}));
        object.set("/spec/x", 2);
        object.set("/spec/x", 1);
        object.set("/data/a", "b");
        object.remove("/data");
        assert_eq!(edit(object), None);
    }

    #[test]
    fn operations_by_hand_come_first() {
        let mut object = Object::from(json!({"spec": {"x": 1}}));
        let mut operations = Patch::new();
        operations.replace("/spec/x", &2);
        object.push(&operations);
        object.set("/data", json!({}));
        assert_eq!(
            edit(object),
            Some(json!([
                {"op": "replace", "path": "/spec/x", "value": 2}, {"op": "add", "path": "/data", "value": {}}
            ]))
        );
    }

    #[test]
    fn what_is_no_object_is_said_to_be_none() {
        let object = Object::from_json("[1".to_owned());
        assert_eq!(object.name(), "");
        assert!(object.into_edit().is_err());
    }
}
