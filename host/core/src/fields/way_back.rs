//! What of a host object's status the tenant sees: nothing that the table leaves out, and nothing unknown that could name
//! what is not the tenant's.

use serde_json::Value;

use super::{Field, is_suspect};
use crate::object::Fields;

/// Removes from `entries` what the tenant must not see; of what no table knows, `field` is none.
pub(super) fn leave_out(field: Option<&Field>, entries: &mut Fields) {
    entries.retain(|name, value| {
        let known = field.and_then(|field| field.field(name));
        let is_shown = match known {
            Some(known) => known.forbidden().is_none(),
            None => !is_suspect(name, value),
        };
        if is_shown {
            leave_out_inside(known, value);
        }
        is_shown
    });
}

fn leave_out_inside(field: Option<&Field>, value: &mut Value) {
    match value {
        Value::Array(items) => {
            let element = field.and_then(Field::elements);
            for item in items {
                leave_out_inside(element, item);
            }
        }
        Value::Object(entries) => match field.and_then(Field::values) {
            Some(inner) => entries.values_mut().for_each(|value| leave_out_inside(Some(inner), value)),
            None => leave_out(field, entries),
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shown_status;
    use crate::object::ResourceType;

    #[test]
    fn the_tenant_sees_what_the_table_has_and_what_names_nothing() {
        let status = json!({
            "phase": "Running",
            "futureMood": {"level": 3, "nodeName": "n"},
            "futureNodeRef": {"name": "n"},
            "resourceClaimStatuses": [{"name": "gpu"}],
            "containerStatuses": [{"name": "a", "resources": {"limits": {"example.com/name": "1"}, "claims": [{"name": "gpu"}]}}],
            "volumeHealth": [{"name": "v", "healthConditions": [{"status": "Degraded", "message": "pvc-1 is slow"}]}],
        });
        let shown = shown_status(&ResourceType::core("Pod", "pods"), status.as_object().unwrap());
        let expected = json!({
            "phase": "Running",
            "futureMood": {"level": 3},
            "containerStatuses": [{"name": "a", "resources": {"limits": {"example.com/name": "1"}}}],
            "volumeHealth": [{"name": "v", "healthConditions": [{"status": "Degraded"}]}],
        });
        assert_eq!(serde_json::Value::Object(shown), expected);
    }
}
