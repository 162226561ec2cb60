//! Leaves out of what flows back the fields that the virtual server refuses: they stay as they are there.

use serde_json::Value;

use crate::object::{Fields, VirtualObject};

/// `desired` with the fields `refused` as `current` has them; `None` when that changes nothing.
///
/// Of `status.conditions[0].type` it is all of `status.conditions`: half an entry of one side and half of the other would be true
/// of neither.
pub(crate) fn kept(
    desired: &VirtualObject,
    current: &VirtualObject,
    refused: &[String],
) -> Option<VirtualObject> {
    let mut relaxed = desired.clone();
    for field in refused {
        keep(relaxed.fields_mut(), current.fields(), field);
    }
    (relaxed != *desired).then_some(relaxed)
}

fn keep(relaxed: &mut Fields, current: &Fields, field: &str) {
    let mut names = field.split(['.', '[']);
    let Some(top) = names.next() else { return };
    match (names.next(), relaxed.get_mut(top).and_then(Value::as_object_mut)) {
        (Some(name), Some(fields)) => replace(fields, name, current.get(top).and_then(|old| old.get(name))),
        _ => replace(relaxed, top, current.get(top)),
    }
}

fn replace(fields: &mut Fields, name: &str, old: Option<&Value>) {
    match old {
        Some(old) => fields.insert(name.to_owned(), old.clone()),
        None => fields.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_refused_stays_as_it_is_and_the_rest_flows_back() {
        let object = |value: &Value| VirtualObject::from_json(value.clone()).unwrap();
        let current = json!({"spec": {"volumeName": "a"}, "status": {"phase": "Pending", "conditions": [{"type": "Old"}]}});
        let desired = json!({"spec": {"volumeName": "b"}, "status": {
            "phase": "Bound", "conditions": [{"type": "New"}], "capacity": {"storage": "1Gi"}}});
        let kept = |refused: &[&str]| {
            let refused: Vec<String> = refused.iter().map(|field| (*field).to_owned()).collect();
            kept(&object(&desired), &object(&current), &refused)
                .map(|object| Value::Object(object.fields().clone()))
        };
        let expect = |change: fn(&mut Value)| {
            let mut expected = desired.clone();
            change(&mut expected);
            Some(expected)
        };
        assert_eq!(kept(&["spec"]), expect(|object| object["spec"]["volumeName"] = "a".into()));
        assert_eq!(
            kept(&["status.conditions[0].type", "status.capacity[storage]"]),
            expect(|object| {
                object["status"]["conditions"][0]["type"] = "Old".into();
                object["status"].as_object_mut().unwrap().remove("capacity");
            })
        );
        assert_eq!(kept(&["metadata.resourceVersion"]), None, "nothing of that flows back");
        assert_eq!(kept(&[]), None);
    }
}
