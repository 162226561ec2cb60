//! Which texts of a status people read, and what of them a tenant may see.

use serde_json::Value;

use crate::context::Ctx;
use crate::object::{Fields, HostObject, VirtualObject};

/// Replaces the host's names in every `message` of `status`, which flows back from `host` to `source`.
pub fn to_virtual(ctx: &Ctx<'_>, host: &HostObject, source: &VirtualObject, status: &mut Fields) {
    each(status, &mut |message| {
        *message = ctx.names.to_virtual_text(message, source.namespace());
        if !host.uid().is_empty() {
            *message = message.replace(host.uid(), source.uid());
        }
    });
}

/// Calls `visit` with each `message` of `status`, at whatever depth.
pub fn each(status: &mut Fields, visit: &mut dyn FnMut(&mut String)) {
    for (field, value) in status {
        each_in(field, value, visit);
    }
}

fn each_in(field: &str, value: &mut Value, visit: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) if field == "message" && !text.is_empty() => visit(text),
        Value::Object(fields) => each(fields, visit),
        Value::Array(items) => items.iter_mut().for_each(|item| each_in(field, item, visit)),
        _ => {}
    }
}
