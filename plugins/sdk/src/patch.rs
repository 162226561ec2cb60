//! Builds a JSON Patch (RFC 6902).

use serde::Serialize;

/// Operations in order, serialised as they are added.
///
/// Most rules never need one: [`crate::Object`] makes it from the changes. A rule that only reads two fields can avoid
/// parsing the whole object: read them with [`crate::Object::read`] and pass the operations to [`crate::Object::push`].
#[derive(Debug, Clone, Default)]
pub struct Patch {
    /// The list without its closing bracket; empty if there are no operations.
    text: Vec<u8>,
}

impl Patch {
    /// A patch without operations.
    pub const fn new() -> Self {
        Self { text: Vec::new() }
    }

    /// Sets a field, or inserts before an item of a list; `-` as the last segment appends.
    pub fn add(&mut self, pointer: &str, value: &impl Serialize) {
        self.operation("add", pointer, Some(value));
    }

    /// Replaces an existing value.
    pub fn replace(&mut self, pointer: &str, value: &impl Serialize) {
        self.operation("replace", pointer, Some(value));
    }

    /// Removes an existing value.
    pub fn remove(&mut self, pointer: &str) {
        self.operation("remove", pointer, None::<&()>);
    }

    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Appends the operations of another patch.
    pub fn append(&mut self, other: &Self) {
        if let Some((_, operations)) = other.text.split_first() {
            self.text.push(if self.text.is_empty() { b'[' } else { b',' });
            self.text.extend_from_slice(operations);
        }
    }

    /// The patch as JSON.
    pub fn into_json(mut self) -> String {
        if self.text.is_empty() {
            self.text.push(b'[');
        }
        self.text.push(b']');
        // Written by serde_json, which writes UTF-8.
        String::from_utf8(self.text).unwrap_or_default()
    }

    fn operation(&mut self, operation: &str, pointer: &str, value: Option<&impl Serialize>) {
        self.text.push(if self.text.is_empty() { b'[' } else { b',' });
        self.text.extend_from_slice(b"{\"op\":\"");
        self.text.extend_from_slice(operation.as_bytes());
        self.text.extend_from_slice(b"\",\"path\":");
        self.write(&pointer);
        if let Some(value) = value {
            self.text.extend_from_slice(b",\"value\":");
            self.write(value);
        }
        self.text.push(b'}');
    }

    fn write(&mut self, value: &impl Serialize) {
        let before = self.text.len();
        if serde_json::to_writer(&mut self.text, value).is_err() {
            // Only a type with a faulty `Serialize` gets here; the patch stays one that can be read.
            self.text.truncate(before);
            self.text.extend_from_slice(b"null");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_written_in_order() {
        let mut patch = Patch::new();
        patch.add("/a", &1);
        patch.replace("/b/\"", &"x");
        let mut other = Patch::new();
        other.remove("/c");
        patch.append(&other);
        assert_eq!(
            patch.into_json(),
            r#"[{"op":"add","path":"/a","value":1},{"op":"replace","path":"/b/\"","value":"x"},{"op":"remove","path":"/c"}]"#
        );
        assert_eq!(Patch::new().into_json(), "[]");
    }
}
