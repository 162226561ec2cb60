//! Whether the init container that completes a pod's hosts file stays what the syncer made it.
//!
//! Other containers mount what it writes, and it is hidden from the tenant. Plugins that edit every container of a pod may
//! give it another image, variables or resources, as to every other one.

use serde_json::Value;

use crate::keys::HOSTS_FILE;
use crate::object::HostObject;

/// The lists of a pod in which the name is the syncer's own.
const LISTS: &[&str] = &["/spec/initContainers", "/spec/volumes"];
/// What of the container a plugin may change.
const OPEN: &[&str] = &["env", "envFrom", "image", "imagePullPolicy", "resources"];

/// The list, as a pointer, in which `after` has it otherwise than `before`, or in another place.
pub(super) fn changed(before: &HostObject, after: &HostObject) -> Option<&'static str> {
    LISTS.iter().copied().find(|list| {
        let (old, new) = (found(before, list), found(after, list));
        // A volume may stand anywhere; the first init container runs before the others.
        let moved =
            *list == "/spec/initContainers" && new.first().map(|(at, _)| at) != old.first().map(|(at, _)| at);
        moved || !new.iter().map(|(_, item)| item).eq(old.iter().map(|(_, item)| item))
    })
}

/// Each place in the list where the name stands, with what is not [`OPEN`].
fn found(pod: &HostObject, list: &str) -> Vec<(usize, Value)> {
    let items = pod.pointer(list).and_then(Value::as_array).into_iter().flatten().enumerate();
    let ours = items.filter(|(_, item)| item.get("name").is_some_and(|name| name == HOSTS_FILE));
    let closed = |item: &Value| {
        let mut item = item.clone();
        item.as_object_mut()
            .into_iter()
            .for_each(|fields| fields.retain(|name, _| !OPEN.contains(&name.as_str())));
        item
    };
    ours.map(|(at, item)| (at, closed(item))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(change: &Value) -> HostObject {
        let mut spec = json!({
            "initContainers": [{"name": HOSTS_FILE, "image": "a", "args": ["hosts"]}, {"name": "b"}],
            "volumes": [{"name": "data"}, {"name": HOSTS_FILE, "emptyDir": {}}],
        });
        json_patch::merge(&mut spec, change);
        HostObject::from_json(json!({"spec": spec})).unwrap()
    }

    fn changed_by(change: &Value) -> Option<&'static str> {
        changed(&pod(&json!({})), &pod(change))
    }

    #[test]
    fn what_it_runs_where_it_writes_and_when_stay_the_same() {
        let containers = |list: Value| changed_by(&json!({"initContainers": list}));
        let (own, other) =
            (json!({"name": HOSTS_FILE, "image": "a", "args": ["hosts"]}), json!({"name": "b"}));
        for list in [
            json!([{"name": HOSTS_FILE, "image": "a", "args": ["sh"]}, other]),
            json!([{"name": HOSTS_FILE, "image": "a", "args": ["hosts"], "command": ["sh"]}]),
            json!([other, own]),
            json!([other]),
            json!([own, other, own]),
        ] {
            assert_eq!(containers(list.clone()), Some("/spec/initContainers"), "{list}");
        }
        let volume = json!({"name": HOSTS_FILE, "configMap": {"name": "a"}});
        assert_eq!(changed_by(&json!({"volumes": [{"name": "data"}, volume]})), Some("/spec/volumes"));
        assert_eq!(
            changed(&pod(&json!({"initContainers": null, "volumes": null})), &pod(&json!({}))),
            Some(LISTS[0])
        );
    }

    #[test]
    fn what_is_done_to_every_container_may_be_done_to_it() {
        let own = json!({"name": HOSTS_FILE, "image": "mirror/a", "args": ["hosts"], "env": [{"name": "A"}]});
        let volumes = json!([{"name": HOSTS_FILE, "emptyDir": {}}]);
        assert_eq!(changed_by(&json!({"initContainers": [own, {"name": "c"}], "volumes": volumes})), None);
    }
}
