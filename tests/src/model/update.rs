//! Changes an object, by a whole new state or by a patch, and one part of it where the request is about a subresource.

use serde_json::{Value, json};

use super::call::{Call, Verb, check_shape};
use super::kinds::Kind;
use super::metadata;
use super::object::{elements, fields, map, metadata, set, text};
use super::patch::patched;
use super::refusal::Refusal;
use super::server::Server;
use super::storage::Key;

impl Server {
    pub(super) fn update(&mut self, call: &Call) -> Result<Value, Refusal> {
        let old = self.current(call)?;
        let mut object = match call.verb {
            Verb::Patch(format) => patched(&old, format, &call.body, call.kind)?,
            _ => call.body.clone(),
        };
        check_shape(&object)?;
        metadata::check_place(&mut object, call)?;
        check_preconditions(&object, &old, call)?;
        if call.kind.is_custom && text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(Refusal::unversioned(call.kind, &call.name));
        }
        metadata::carry_over(&mut object, &old);
        only_part(&mut object, &old, call);
        let subject = self.subject(call.kind, &call.name);
        metadata::validate_update(&object, &old, &subject)?;
        match call.subresource {
            None => (call.kind.rules.update)(&mut object, &old, &subject)?,
            Some("status") => (call.kind.rules.status)(&mut object),
            Some(_) => {}
        }
        count(&mut object, &old, call.kind);
        Ok(self.commit(call, object, &old))
    }

    fn commit(&mut self, call: &Call, mut object: Value, old: &Value) -> Value {
        set(metadata(&mut object), "resourceVersion", old.pointer("/metadata/resourceVersion").cloned());
        let key = Key::new(call.kind, &call.namespace, &call.name);
        // Nothing has changed, so nothing is written.
        if object == *old {
            return object;
        }
        if is_let_go(&object, old) && !call.is_dry_run() {
            self.remove(call.kind, &key);
            return object;
        }
        self.store(call, key, object)
    }
}

/// A writer may name the object it means by its version, and by its UID; a patch with another UID tries to change it.
fn check_preconditions(object: &Value, old: &Value, call: &Call) -> Result<(), Refusal> {
    let differs = |pointer: &str| {
        let wanted = text(object, pointer);
        !wanted.is_empty() && wanted != text(old, pointer)
    };
    let conflict = |why: &str| Err(Refusal::conflict(call.kind, &call.name, why));
    if call.verb == Verb::Replace && differs("/metadata/uid") {
        return conflict("Precondition failed: UID");
    }
    if differs("/metadata/resourceVersion") {
        return conflict("the object has been modified");
    }
    Ok(())
}

/// Leaves everything as it was but what the request is about.
fn only_part(object: &mut Value, old: &Value, call: &Call) {
    let keep = |object: &mut Value, name: &str| set(fields(object), name, old.get(name).cloned());
    match call.subresource {
        None if call.kind.has_status() => keep(object, "status"),
        None => {}
        Some("ephemeralcontainers") => {
            let new = object.pointer("/spec/ephemeralContainers").cloned();
            *object = old.clone();
            set(map(object, "spec"), "ephemeralContainers", new);
        }
        Some(_) if call.kind.is_custom => {
            let status = object.get("status").cloned();
            *object = old.clone();
            set(fields(object), "status", status);
        }
        Some(_) => {
            keep(object, "spec");
            let owners = old.pointer("/metadata/ownerReferences").cloned();
            set(metadata(object), "ownerReferences", owners);
        }
    }
}

/// Counts a change of what is wanted.
fn count(object: &mut Value, old: &Value, kind: &Kind) {
    let has_changed = match (kind.is_custom, kind.plural) {
        (true, _) => {
            let wanted = |object: &Value| {
                let mut rest = object.clone();
                fields(&mut rest).retain(|name, _| !matches!(name.as_str(), "metadata" | "status"));
                rest
            };
            wanted(object) != wanted(old)
        }
        (false, "endpointslices") => {
            let labels = |object: &Value| object.pointer("/metadata/labels").cloned();
            object.get("endpoints") != old.get("endpoints")
                || object.get("ports") != old.get("ports")
                || labels(object) != labels(old)
        }
        _ => object.get("spec") != old.get("spec"),
    };
    if kind.has_generation && has_changed {
        raise_generation(object);
    }
}

/// Adds one to the generation of an object that has one.
pub(super) fn raise_generation(object: &mut Value) {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    if let Some(generation) = generation {
        metadata(object).insert("generation".into(), json!(generation + 1));
    }
}

/// Whether the last finalizer of a deleted object is gone.
fn is_let_go(object: &Value, old: &Value) -> bool {
    let grace = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    grace == Some(0) && elements(object, "/metadata/finalizers").is_empty()
}
