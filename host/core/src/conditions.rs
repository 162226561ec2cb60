//! The conditions that plugins keep on the tenant's objects.
//!
//! They stand in `status.conditions` beside those of others, under types that only plugins have:
//! `<plugin>.plugins.weft.dev/<name>`.

use serde_json::{Value, json};

use crate::change::Change;
use crate::context::{Condition, Ctx, Notes};
use crate::keys::PLUGIN_CONDITIONS;
use crate::object::{Fields, VirtualObject, child_mut};

/// The type of the condition `name` of `plugin`.
pub fn kind(plugin: &str, name: &str) -> String {
    format!("{plugin}{PLUGIN_CONDITIONS}{name}")
}

/// Brings the plugins' conditions of `desired` up to date with this decision. Plugins that did not answer keep
/// what else `current` has of them.
pub fn merge(ctx: &Ctx<'_>, desired: &mut VirtualObject, current: &VirtualObject) {
    let noted = ctx.notes.noted_conditions();
    let before: Vec<&Value> = list(current).filter(|condition| plugin_of(condition).is_some()).collect();
    if noted.is_empty() && before.is_empty() {
        return;
    }
    let mut merged: Vec<Value> =
        list(desired).filter(|condition| plugin_of(condition).is_none()).cloned().collect();
    let is_noted = |plugin: &str, old: &Value| {
        noted.get(plugin).into_iter().flatten().any(|new| type_of(old) == Some(&new.kind))
    };
    let kept = before.iter().filter(|old| {
        plugin_of(old).is_some_and(|plugin| !ctx.notes.has_answered(plugin) && !is_noted(plugin, old))
    });
    merged.extend(kept.map(|condition| (*condition).clone()));
    for condition in noted.values().flatten() {
        let old = before.iter().find(|old| type_of(old) == Some(&condition.kind));
        merged.push(entry(condition, old.copied(), &ctx.now.text));
    }
    if merged.is_empty() && list(desired).next().is_none() {
        return;
    }
    let status: &mut Fields = child_mut(desired.fields_mut(), "status");
    status.insert("conditions".to_owned(), merged.into());
}

/// Whether `notes` differ, times aside, from the conditions of `current`.
pub fn are_new(notes: &Notes, current: &VirtualObject) -> bool {
    notes.noted_conditions().iter().any(|(plugin, noted)| {
        let of_plugin = |condition: &&Value| plugin_of(condition) == Some(plugin);
        (notes.has_answered(plugin) && list(current).filter(of_plugin).count() != noted.len())
            || noted.iter().any(|condition| !list(current).any(|old| says_the_same(old, condition)))
    })
}

fn says_the_same(old: &Value, condition: &Condition) -> bool {
    let text = |field: &str| old.get(field).and_then(Value::as_str).unwrap_or_default();
    text("type") == condition.kind
        && text("status") == condition.status
        && text("reason") == condition.reason
        && text("message") == condition.message
}

/// Makes the patches of `current`'s conditions fail where others have changed these since. A patch replaces all
/// conditions; without a plugin's among them they are the host's, and nobody else writes them.
pub fn guard(current: &VirtualObject, desired: &VirtualObject, changes: &mut [Change]) {
    if of_plugins(current).next().is_some() || of_plugins(desired).next().is_some() {
        Change::guard_conditions(changes, current);
    }
}

/// The conditions of an object that belong to plugins, in order.
pub fn of_plugins(object: &VirtualObject) -> impl Iterator<Item = &Value> {
    list(object).filter(|condition| plugin_of(condition).is_some())
}

/// The condition as the API has it; its time is that of the last change of its status.
fn entry(condition: &Condition, old: Option<&Value>, now: &str) -> Value {
    let since = old
        .filter(|old| old.get("status").and_then(Value::as_str) == Some(condition.status))
        .and_then(|old| old.get("lastTransitionTime").and_then(Value::as_str))
        .unwrap_or(now);
    json!({
        "type": condition.kind, "status": condition.status, "reason": condition.reason,
        "message": condition.message, "lastTransitionTime": since,
    })
}

fn list(object: &VirtualObject) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

fn type_of(condition: &Value) -> Option<&str> {
    condition.get("type").and_then(Value::as_str)
}

/// The plugin that a condition belongs to, if it is a plugin's.
fn plugin_of(condition: &Value) -> Option<&str> {
    type_of(condition)?.split_once(PLUGIN_CONDITIONS).map(|(plugin, _)| plugin)
}
