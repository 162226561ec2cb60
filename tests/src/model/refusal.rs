//! Why a request is refused, as the `Status` object that a real server answers with.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::object::{elements, fields};

/// A request that is refused.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: json!({}) }
    }

    /// About one object.
    fn about(kind: &Kind, name: &str, code: u16, reason: &'static str, why: &str) -> Self {
        let message = format!("{} \"{name}\" {why}", kind.resource());
        let mut details = json!({"kind": kind.plural});
        if !name.is_empty() {
            fields(&mut details).insert("name".into(), name.into());
        }
        if !kind.group.is_empty() {
            fields(&mut details).insert("group".into(), kind.group.into());
        }
        Self { details, ..Self::new(code, reason, message) }
    }

    /// There is no such object.
    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::about(kind, name, 404, "NotFound", "not found")
    }

    /// There is no such path.
    pub(super) fn no_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// The path does not take the method.
    pub(super) fn method() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// The name is taken.
    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::about(kind, name, 409, "AlreadyExists", "already exists")
    }

    /// A mistake that a real server takes for its own.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// A replacement names no version, where one is needed.
    pub(super) fn unversioned(kind: &Kind, name: &str) -> Self {
        let refusal = Self::about(kind, name, 422, "Invalid", "is invalid");
        refusal.and("metadata.resourceVersion", "FieldValueInvalid", "must be specified for an update")
    }

    /// The object is not the one that the request means.
    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let mut refusal = Self::about(kind, name, 409, "Conflict", "");
        refusal.message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        refusal
    }

    /// The same where the request says it in a precondition of a deletion.
    pub(super) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let mut refusal = Self::conflict(kind, name, why);
        // A namespace is compared in another place.
        if kind.plural != "namespaces" {
            fields(&mut refusal.details).insert("kind".into(), kind.name.into());
        }
        refusal
    }

    /// A pod cannot be bound.
    pub(super) fn binding(kind: &Kind, name: &str, why: &str) -> Self {
        let mut refusal = Self::conflict(kind, name, why);
        fields(&mut refusal.details).insert("kind".into(), "pods/binding".into());
        refusal
    }

    /// The version that is asked for is forgotten.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The body is in a format that the path does not take.
    pub(super) fn media_type(found: &str) -> Self {
        Self::new(415, "UnsupportedMediaType", format!("the media type \"{found}\" is not accepted here"))
    }

    /// A field of the object is wrong: `(field, reason of the cause, what is wrong)`.
    pub(super) fn invalid(kind: &Kind, name: &str, field: &str, cause: &str, why: &str) -> Self {
        let mut refusal = Self::about(kind, name, 422, "Invalid", "");
        refusal.message = format!("{} \"{name}\" is invalid: {field}: {why}", kind.name);
        fields(&mut refusal.details).insert("kind".into(), kind.name.into());
        refusal.and(field, cause, why)
    }

    /// The same for one more reason.
    pub(super) fn and(mut self, field: &str, cause: &str, why: &str) -> Self {
        let mut causes = elements(&self.details, "/causes").to_vec();
        causes.push(json!({"reason": cause, "message": why, "field": field}));
        fields(&mut self.details).insert("causes".into(), causes.into());
        self
    }

    /// A patch that does not fit the object.
    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// The request makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// Admission refuses the object.
    pub(super) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let mut refusal = Self::about(kind, name, 403, "Forbidden", "");
        refusal.message = format!("{} \"{name}\" is forbidden: {why}", kind.resource());
        refusal
    }

    /// The version that is asked for is still to come; a real server waits for it a while.
    pub(super) fn too_large(wanted: u64, current: u64) -> Self {
        Self::new(504, "Timeout", format!("Too large resource version: {wanted}, current: {current}"))
    }

    /// What the model does not have, as no test may believe what it would answer.
    pub(super) fn unmodelled(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("the model API server does not have {what}"))
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "details": self.details, "code": self.code,
        });
        if !self.reason.is_empty() {
            fields(&mut status).insert("reason".into(), self.reason.into());
        }
        status
    }
}
