//! Deletes an object: at once, after a grace period, or when its last finalizer is gone.

use serde_json::{Value, json};

use super::call::Call;
use super::kinds::Kind;
use super::object::{elements, fields, metadata, text};
use super::refusal::Refusal;
use super::server::Server;
use super::storage::Key;
use super::update::raise_generation;

impl Server {
    pub(super) fn delete(&mut self, call: &Call) -> Result<Value, Refusal> {
        let old = self.current(call)?;
        let grace = grace(call)?;
        check_preconditions(call, &old)?;
        if call.kind.plural == "namespaces" {
            return Ok(self.terminate(call, &old));
        }
        let has_finalizers = !elements(&old, "/metadata/finalizers").is_empty();
        let pending = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
        match pending {
            Some(0) if has_finalizers => Ok(Value::clone(&old)),
            Some(0) => Ok(self.finish(call, &old)),
            Some(pending) => match grace.filter(|grace| *grace < pending) {
                Some(grace) => Ok(self.shorten(call, &old, pending, grace)),
                None => Ok(Value::clone(&old)),
            },
            None => match (call.kind.rules.grace)(&old, grace) {
                None if !has_finalizers => Ok(self.finish(call, &old)),
                grace => Ok(self.begin(call, &old, grace.unwrap_or_default())),
            },
        }
    }

    /// Begins a deletion.
    fn begin(&mut self, call: &Call, old: &Value, grace: i64) -> Value {
        let mut object = old.clone();
        raise_generation(&mut object);
        let end = self.clock.timestamp(grace);
        self.mark(call, object, end, grace)
    }

    /// Leaves an object that is being deleted less time.
    fn shorten(&mut self, call: &Call, old: &Value, pending: i64, grace: i64) -> Value {
        let (end, is_past) = self.clock.earlier(text(old, "/metadata/deletionTimestamp"), pending - grace);
        // Whoever ends it gets one more second, unless it is to end now.
        let grace = if is_past { grace.min(1) } else { grace };
        self.mark(call, old.clone(), end, grace)
    }

    /// Marks an object as deleted; without time and finalizers it goes at once, after those who watch have seen the mark.
    fn mark(&mut self, call: &Call, mut object: Value, end: String, grace: i64) -> Value {
        let fields = metadata(&mut object);
        fields.insert("deletionTimestamp".into(), end.into());
        fields.insert("deletionGracePeriodSeconds".into(), grace.into());
        let is_over = grace == 0 && elements(&object, "/metadata/finalizers").is_empty();
        let object = self.store(call, Key::new(call.kind, &call.namespace, &call.name), object);
        if is_over { self.finish(call, &object) } else { object }
    }

    /// Removes the object of a call, and returns the answer.
    fn finish(&mut self, call: &Call, old: &Value) -> Value {
        let key = Key::new(call.kind, &call.namespace, &call.name);
        let last = if call.is_dry_run() { None } else { self.remove(call.kind, &key) };
        deleted(call.kind, last.unwrap_or_else(|| old.clone()))
    }

    /// Removes an object; with the last one a namespace that is being terminated ends.
    pub(super) fn remove(&mut self, kind: &Kind, key: &Key) -> Option<Value> {
        let last = self.storage.remove(key)?;
        if kind.is_namespaced {
            self.end_namespace(text(&last, "/metadata/namespace"));
        }
        Some(last)
    }
}

/// The grace period that is asked for.
fn grace(call: &Call) -> Result<Option<i64>, Refusal> {
    let has_body = !call.body.is_null();
    let policy =
        if has_body { text(&call.body, "/propagationPolicy") } else { call.parameter("propagationPolicy") };
    if !matches!(policy, "" | "Background") {
        return Err(Refusal::unmodelled("foreground deletion and orphans"));
    }
    let grace = if has_body {
        call.body.get("gracePeriodSeconds").and_then(Value::as_i64)
    } else {
        call.number("gracePeriodSeconds")?.and_then(|grace| i64::try_from(grace).ok())
    };
    Ok(grace.map(|grace| if grace < 0 { 1 } else { grace }))
}

fn check_preconditions(call: &Call, old: &Value) -> Result<(), Refusal> {
    for name in ["uid", "resourceVersion"] {
        let wanted = text(&call.body, &format!("/preconditions/{name}"));
        if !wanted.is_empty() && wanted != text(old, &format!("/metadata/{name}")) {
            let why = format!("the {name} in the precondition does not match the {name} in record");
            return Err(Refusal::precondition(call.kind, &call.name, &why));
        }
    }
    Ok(())
}

/// What a finished deletion is answered with.
fn deleted(kind: &Kind, last: Value) -> Value {
    if kind.returns_deleted {
        return last;
    }
    let mut details = json!({
        "name": text(&last, "/metadata/name"), "kind": kind.plural, "uid": text(&last, "/metadata/uid"),
    });
    if !kind.group.is_empty() {
        fields(&mut details).insert("group".into(), kind.group.into());
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
