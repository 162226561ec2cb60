//! Requests to the model from this process, without a client: what controllers and people of a simulation do, and how it looks.

use std::sync::Arc;

use http::{Method, Request, header};
use serde_json::Value;

use super::Model;
use super::call::Call;
use super::kinds::Kind;
use super::server::Answer;
use super::storage::Key;

impl Model {
    /// Answers a request at once; gives the code and the body. Watches are refused.
    pub fn ask(&self, method: Method, path: &str, content_type: &str, body: &Value) -> (u16, Value) {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content_type);
        let Ok(request) = request.body(()) else { return (400, Value::Null) };
        let (head, ()) = request.into_parts();
        match Call::read(&head, &bytes).and_then(|call| self.answer(&call)) {
            Ok(Answer::Whole(code, value)) => (code, value),
            Ok(Answer::Watch(_)) => (501, Value::Null),
            Err(refusal) => (refusal.code, refusal.status()),
        }
    }

    /// The objects of a kind everywhere, by its plural, in the order of their paths. None of a kind that is not served.
    pub fn objects(&self, group: &str, plural: &str) -> Vec<Arc<Value>> {
        let Some(kind) = Kind::find(group, "v1", plural) else { return Vec::new() };
        self.lock().storage.all(kind, "").map(|(_, object)| object.clone()).collect()
    }

    /// One object; none if it is not there.
    pub fn object(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let kind = Kind::find(group, "v1", plural)?;
        self.lock().storage.get(&Key::new(kind, namespace, name)).cloned()
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.lock().storage.revision()
    }
}
