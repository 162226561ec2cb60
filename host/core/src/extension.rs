//! Extensions: plugins as the core sees them. What they are called with, what they answer, what they may change.
//!
//! An extension answers with data; [`crate::chain::Chain`] checks the answer and applies it.

use crate::context::{Condition, Ctx, Event};
use crate::edit::Edit;
use crate::object::{Fields, HostObject, Kind, VirtualObject};
use crate::text::one_line;
use crate::verdict::{By, Problem, Verdict};

/// One plugin's part in the mapping of one kind.
pub trait Extension: Send + Sync {
    /// Name of the plugin.
    fn name(&self) -> &str;

    /// What it is called for and what it may change.
    fn terms(&self) -> &Terms;

    /// Calls the plugin.
    ///
    /// # Errors
    /// The plugin did not answer, or not in a form that can be read.
    fn call(&self, ctx: &Ctx<'_>, request: &Request<'_>) -> Result<Answer, Failure>;

    /// Takes note that the answer was not applied because of `failure`.
    fn refused(&self, failure: &Failure);
}

/// What an extension is called for and what it may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Called when the host object is to be written.
    pub to_host: bool,
    /// Called when something flows back.
    pub to_virtual: bool,
    /// What it may change on the host object, as pointers; labels and annotations of others always.
    pub host_writes: Vec<String>,
    /// What it may change on the virtual object, as pointers.
    pub virtual_writes: Vec<String>,
    /// What happens to an object when it fails.
    pub on_failure: OnFailure,
}

/// What happens to an object when an extension fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Nothing is written; retried with backoff.
    #[default]
    Hold,
    /// Written as if the extension were not there.
    Core,
    /// Nothing is written until the object or the extension changes.
    Deny,
}

/// The direction of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The host object is to be written.
    ToHost,
    /// The virtual object is to be written.
    ToVirtual,
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The direction.
    pub direction: Direction,
    /// The tenant's object.
    pub virtual_object: &'a VirtualObject,
    /// The host object as it is now.
    pub host_object: Option<&'a HostObject>,
    /// What would be written without this extension.
    pub draft: &'a Fields,
}

impl Request<'_> {
    /// The kind that is mapped.
    pub fn kind(&self) -> Kind {
        let text = |pointer| self.virtual_object.text(pointer).unwrap_or_default();
        Kind::new(&format!("{}/{}", text("/apiVersion"), text("/kind")))
    }
}

/// What an extension answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The edit of the draft that is to be written, or why nothing is.
    pub verdict: Verdict<Edit>,
    /// Events on the virtual object.
    pub events: Vec<Event>,
    /// All the plugin's conditions of the virtual object; none: they stay as they are.
    pub conditions: Option<Vec<Condition>>,
}

/// Why there is no answer, or none that can be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// Stable, in CamelCase: `PluginTimeout`.
    pub reason: &'static str,
    /// For people.
    pub why: String,
    /// The field, in Kubernetes notation, where the guard found one.
    pub field: Option<String>,
}

/// Bytes that are kept of the message of a failure, and of its field.
const MESSAGE: usize = 1024;
const FIELD: usize = 256;

impl Failure {
    /// A failure that is about no field. What comes of `why` is one line: see [`one_line`].
    pub fn new(reason: &'static str, why: impl Into<String>) -> Self {
        Self { reason, why: one_line(&why.into(), MESSAGE), field: None }
    }

    /// The same about a field, in Kubernetes notation.
    #[must_use]
    pub fn about(self, field: &str) -> Self {
        Self { field: Some(one_line(field, FIELD)), ..self }
    }

    /// The failure as a problem of the plugin `by`.
    pub fn problem(&self, by: &str) -> Problem {
        Problem {
            by: By::Plugin(by.to_owned()),
            reason: self.reason.to_owned(),
            why: self.why.clone(),
            field: self.field.clone(),
        }
    }
}
