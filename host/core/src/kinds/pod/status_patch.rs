//! Makes the patch of a virtual pod's status one that leaves alone the conditions that others set meanwhile.

use serde_json::{Value, json};

use super::parts;
use crate::change::{Change, PatchFormat};
use crate::diff;
use crate::object::{Fields, VirtualObject};

/// Where the conditions stand.
const CONDITIONS: &str = "/status/conditions";
/// Lists of a pod's status that a strategic merge patch would merge as well, element by element.
const MERGED: [&str; 3] = ["podIPs", "hostIPs", "resourceClaimStatuses"];

/// The changes, where those with conditions are merged into what is there by their type, as a kubelet does: a merge patch
/// would replace them all, and take away what an eviction has set a moment ago.
pub(super) fn mergeable(
    mut changes: Vec<Change>,
    desired: &VirtualObject,
    current: &VirtualObject,
) -> Vec<Change> {
    for change in &mut changes {
        let Some(Value::Object(status)) = change.body.get_mut("status") else { continue };
        if !status.contains_key("conditions") {
            continue;
        }
        status.insert("conditions".into(), conditions(desired, current).into());
        for list in MERGED {
            if let Some(Value::Array(items)) = status.get_mut(list) {
                items.push(json!({"$patch": "replace"}));
            }
        }
        change.format = PatchFormat::Strategic;
    }
    changes
}

/// The conditions that differ, field by field, and the types of those that go.
fn conditions(desired: &VirtualObject, current: &VirtualObject) -> Vec<Value> {
    let find =
        |of: &VirtualObject, kind: &str| parts::find(parts::items(of, CONDITIONS), "type", kind).cloned();
    let changed = parts::items(desired, CONDITIONS).filter_map(|wanted| {
        let kind = parts::text(wanted, "type");
        let mut patch: Fields = match diff::exact(find(current, kind).as_ref(), Some(wanted))? {
            Value::Object(patch) => patch,
            _ => return None,
        };
        patch.insert("type".into(), kind.into());
        Some(Value::Object(patch))
    });
    let gone = parts::items(current, CONDITIONS)
        .map(|known| parts::text(known, "type"))
        .filter(|kind| find(desired, kind).is_none())
        .map(|kind| json!({"type": kind, "$patch": "delete"}));
    changed.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::virtual_object;
    use super::*;

    fn pod(status: &Value) -> VirtualObject {
        virtual_object(json!({"metadata": {"name": "web"}, "status": status}))
    }

    fn patches(current: &Value, desired: &Value) -> Vec<(PatchFormat, Value)> {
        let (current, desired) = (pod(current), pod(desired));
        let changes = mergeable(diff::exact_changes(&desired, &current), &desired, &current);
        changes.into_iter().map(|change| (change.format, change.body["status"].clone())).collect()
    }

    #[test]
    fn conditions_are_merged_by_type_and_other_lists_replaced() {
        let current = json!({
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "Starting"}, {"type": "Initialized", "status": "True"},
                {"type": "PodResizePending", "status": "True"},
            ],
            "podIPs": [{"ip": "10.0.0.1"}],
        });
        let desired = json!({
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}],
            "podIPs": [{"ip": "10.0.0.2"}], "containerStatuses": [{"name": "main"}],
        });
        let body = json!({
            "conditions": [
                {"type": "Ready", "status": "True", "reason": null}, {"type": "PodResizePending", "$patch": "delete"},
            ],
            "podIPs": [{"ip": "10.0.0.2"}, {"$patch": "replace"}], "containerStatuses": [{"name": "main"}],
        });
        assert_eq!(patches(&current, &desired), [(PatchFormat::Strategic, body)]);
    }

    #[test]
    fn without_conditions_the_patch_stays_a_merge() {
        let patch = patches(
            &json!({"phase": "Pending"}),
            &json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}),
        );
        let body = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]});
        assert_eq!(patch, [(PatchFormat::Merge, body)]);
    }
}
