//! The conditions that others than the host keep on the tenant's objects.
//!
//! They stand in `status.conditions` beside those of the host: what clients and controllers of the virtual cluster set, and
//! under types that only plugins have, `<plugin>.plugins.weft.dev/<name>`, what these set.

use serde_json::{Value, json};

use crate::change::Change;
use crate::context::{Condition, Ctx, Notes};
use crate::keys::PLUGIN_CONDITIONS;
use crate::object::{Fields, VirtualObject, child_mut};

/// Adds to `status`, which was made from the host's, the conditions of `current` that the host does not have and that are
/// not of one of the types `of_host`, which go when they go there.
pub fn keep_others(current: &VirtualObject, status: &mut Fields, of_host: &[&str]) {
    let mut conditions = match status.remove("conditions") {
        Some(Value::Array(conditions)) => conditions,
        _ => Vec::new(),
    };
    let is_kept = |condition: &&Value| {
        let kind = type_of(condition);
        !conditions.iter().any(|shown| type_of(shown) == kind)
            && kind.is_some_and(|kind| !of_host.contains(&kind))
    };
    let kept: Vec<Value> = list(current).filter(is_kept).cloned().collect();
    conditions.extend(kept);
    if !conditions.is_empty() {
        status.insert("conditions".to_owned(), conditions.into());
    }
}

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

/// The changes of `current`, made to fail where others may have changed its conditions since: a merge patch replaces them all.
pub fn guarded(mut changes: Vec<Change>, current: &VirtualObject) -> Vec<Change> {
    if list(current).next().is_some() {
        Change::guard_conditions(&mut changes, current);
    }
    changes
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

#[cfg(test)]
mod tests {
    use super::*;

    fn object(conditions: &Value) -> VirtualObject {
        let metadata = json!({"name": "data", "resourceVersion": "9"});
        let object = json!({"metadata": metadata, "status": {"conditions": conditions}});
        VirtualObject::from_json(object).unwrap()
    }

    fn condition(kind: &str, status: &str) -> Value {
        json!({"type": kind, "status": status})
    }

    #[test]
    fn conditions_of_others_stay_behind_the_hosts() {
        let current = object(&json!([
            condition("Resizing", "True"),
            condition("example.com/backed-up", "True"),
            condition("Shared", "False"),
        ]));
        let mut status = Fields::new();
        status.insert("conditions".into(), json!([condition("Shared", "True")]));
        keep_others(&current, &mut status, &["Resizing"]);
        let expected = json!([condition("Shared", "True"), condition("example.com/backed-up", "True")]);
        assert_eq!(status["conditions"], expected);
        let mut none = Fields::new();
        keep_others(&object(&json!([condition("Resizing", "True")])), &mut none, &["Resizing"]);
        assert!(none.is_empty(), "{none:?}");
    }

    #[test]
    fn a_patch_of_conditions_that_others_may_have_changed_is_for_one_version() {
        let patch = |field: &str| vec![Change::merge_in("status", json!({"status": {field: []}}))];
        let version = |changes: Vec<Change>| changes[0].body.pointer("/metadata/resourceVersion").cloned();
        let with_one = object(&json!([condition("Resizing", "True")]));
        assert_eq!(version(guarded(patch("conditions"), &with_one)), Some(json!("9")));
        assert_eq!(version(guarded(patch("accessModes"), &with_one)), None);
        assert_eq!(version(guarded(patch("conditions"), &object(&json!([])))), None);
    }
}
