//! Whether an object has a controller of the host run containers, which no guard then judges as it judges a pod's.
//!
//! Nobody can list the kinds that make pods, but nearly all take over the field names of `PodSpec`: so the object is
//! looked through, whatever its kind is called.

use serde_json::Value;

use super::refuse;
use crate::object::{Fields, HostObject};
use crate::paths;
use crate::spec::KindSpec;
use crate::verdict::Verdict;

/// The lists of a `PodSpec` that hold containers.
const LISTS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

/// Passes `object`, a host object of the kind `spec`, if it is a pod, has no containers in it, or the operator has said that its
/// kind may act for others.
pub(super) fn judge(spec: &KindSpec, object: &HostObject) -> Verdict<()> {
    if spec.acts_for_others || spec.resource.kind().as_str() == "v1/Pod" {
        return Ok(());
    }
    match containers(object.fields()) {
        Some(place) => {
            let why = "a controller of the host could run these containers, which nobody judges as a pod's; the operator can \
                       map the kind with `actsForOthers: true`";
            Err(refuse(&place, why.to_owned()))
        }
        None => Ok(()),
    }
}

/// The first list of containers in `fields`, as a pointer from there.
fn containers(fields: &Fields) -> Option<String> {
    fields.iter().find_map(|(name, value)| {
        let holds_objects = || value.as_array().is_some_and(|items| items.iter().any(Value::is_object));
        let is_list = LISTS.contains(&name.as_str()) && holds_objects();
        let rest = if is_list { Some(String::new()) } else { inside(value) };
        rest.map(|rest| format!("/{}{rest}", paths::escape(name)))
    })
}

fn inside(value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => containers(fields),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| inside(item).map(|rest| format!("/{index}{rest}")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ResourceType;
    use serde_json::json;

    /// The field that an object with this spec is refused for.
    fn refused(spec: &Value, kind: &KindSpec) -> Option<String> {
        let object = HostObject::from_json(json!({"metadata": {}, "spec": spec})).unwrap();
        judge(kind, &object).err().and_then(|hold| hold.problem().field.clone())
    }

    #[test]
    fn a_template_of_pods_needs_the_operators_word_wherever_it_is() {
        let widget = ResourceType { group: "example.com".into(), ..ResourceType::core("Widget", "widgets") };
        let closed = KindSpec::new(widget);
        let open = KindSpec { acts_for_others: true, ..closed.clone() };
        let list = json!([{"name": "main", "image": "nginx:1"}]);
        for (spec, field) in [
            (json!({"template": {"spec": {"containers": list}}}), "spec.template.spec.containers"),
            (
                json!({"jobTemplate": {"spec": {"template": {"spec": {"initContainers": list}}}}}),
                "spec.jobTemplate.spec.template.spec.initContainers",
            ),
            (
                json!({"roles": [{"a": 1}, {"podSpec": {"containers": list}}]}),
                "spec.roles[1].podSpec.containers",
            ),
            (json!({"containers": list}), "spec.containers"),
        ] {
            assert_eq!(refused(&spec, &closed).as_deref(), Some(field));
            assert_eq!(refused(&spec, &open), None, "{field}");
            assert_eq!(refused(&spec, &KindSpec::core("Pod", "pods")), None, "{field}");
        }
        for fine in [
            json!({"containers": 3}),
            json!({"containers": ["main"]}),
            json!({"template": {"containers": []}}),
        ] {
            assert_eq!(refused(&fine, &closed), None, "{fine}");
        }
    }
}
