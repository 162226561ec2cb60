//! What a kind has beside what all have: defaults, allocation and validation, as functions of its own.

use serde_json::Value;

use super::identifiers::Identifiers;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::storage::Storage;

/// The rules of a kind. Each changes the object that is written, or refuses it.
pub(super) struct Rules {
    /// A new object.
    pub(super) create: fn(&mut Value, &Subject<'_>) -> Result<(), Refusal>,
    /// A new state of an object, and the one before; not for its subresources.
    pub(super) update: fn(&mut Value, &Value, &Subject<'_>) -> Result<(), Refusal>,
    /// A new status, and whatever else a writer of the status may change.
    pub(super) status: fn(&mut Value),
    /// For how many seconds an object goes on when it is deleted, if it waits at all.
    pub(super) grace: fn(&Value, Option<i64>) -> Option<i64>,
}

/// What is written, and what there is beside it.
pub(super) struct Subject<'a> {
    pub(super) kind: &'static Kind,
    pub(super) name: String,
    pub(super) storage: &'a Storage,
    pub(super) now: String,
}

/// No rules.
pub(super) const NONE: Rules =
    Rules { create: |_, _| Ok(()), update: |_, _, _| Ok(()), status: |_| {}, grace: |_, _| None };

impl Subject<'_> {
    /// A field has a wrong value.
    pub(super) fn invalid(&self, field: &str, why: &str) -> Refusal {
        self.because(field, "FieldValueInvalid", why)
    }

    /// A field may not be like this here.
    pub(super) fn field_forbidden(&self, field: &str, why: &str) -> Refusal {
        self.because(field, "FieldValueForbidden", why)
    }

    /// A field is missing.
    pub(super) fn required(&self, field: &str, why: &str) -> Refusal {
        self.because(field, "FieldValueRequired", why)
    }

    fn because(&self, field: &str, cause: &str, why: &str) -> Refusal {
        Refusal::invalid(self.kind, &self.name, field, cause, why)
    }
}

/// The end of a name that the server completes.
pub(super) fn generated(base: &str, identifiers: &mut Identifiers) -> String {
    /// What `names.SimpleNameGenerator` leaves room for.
    const LONGEST: usize = 58;
    let base: String = base.chars().take(LONGEST).collect();
    format!("{base}{}", identifiers.suffix())
}
