//! Whether a host object has only fields that the table of its kind lets it have ([`crate::fields`]).
//!
//! What the table does not know is newer than it. It is copied as long as it cannot name anything; see [`super::unknown`].

use serde_json::Value;

use super::{is_unset, refuse, unknown};
use crate::fields::{self, Field};
use crate::object::{Fields, HostObject, ResourceType};
use crate::paths;
use crate::verdict::Verdict;

/// Where a value stands: kept as a chain, because a pointer is only needed for what is refused.
pub(super) enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

/// Passes `object`, a host object of the kind `resource`, if nothing in it is dropped or refused.
pub(super) fn judge(resource: &ResourceType, object: &HostObject) -> Verdict<()> {
    match fields::of(resource) {
        Some(table) => judge_fields(table, object.fields(), &Place::Root),
        None => Ok(()),
    }
}

fn judge_value(field: &Field, value: &Value, at: &Place<'_>) -> Verdict<()> {
    if is_unset(value) {
        return Ok(());
    }
    if let Some(why) = field.forbidden() {
        return Err(refuse(&at.pointer(), why.to_owned()));
    }
    match (value, field.elements(), field.values()) {
        (Value::Array(items), Some(element), _) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| judge_value(element, item, &Place::Item(at, index))),
        (Value::Object(entries), _, Some(inner)) => {
            entries.iter().try_for_each(|(key, entry)| judge_value(inner, entry, &Place::Field(at, key)))
        }
        (Value::Object(entries), ..) if field.has_fields() => judge_fields(field, entries, at),
        // The API has something else here.
        _ => unknown::judge_inside(value, at),
    }
}

fn judge_fields(field: &Field, entries: &Fields, at: &Place<'_>) -> Verdict<()> {
    entries.iter().try_for_each(|(name, value)| {
        let inside = Place::Field(at, name);
        match (field.field(name), field.others_forbidden()) {
            (Some(known), _) => judge_value(known, value, &inside),
            (None, Some(why)) if !is_unset(value) => Err(refuse(&inside.pointer(), why.to_owned())),
            (None, _) => unknown::judge(name, value, &inside),
        }
    })
}

impl Place<'_> {
    /// The RFC 6901 pointer of the place.
    pub(super) fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(outside, name) => format!("{}/{}", outside.pointer(), paths::escape(name)),
            Self::Item(outside, index) => format!("{}/{index}", outside.pointer()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The field that a pod with this spec is refused for, and why.
    fn refused(spec: &Value) -> Option<(String, String)> {
        let pod = HostObject::from_json(json!({"spec": spec})).unwrap();
        let problem = judge(&ResourceType::core("Pod", "pods"), &pod).err()?.problem().clone();
        Some((problem.field.unwrap_or_default(), problem.why))
    }

    fn field(spec: &Value) -> Option<String> {
        refused(spec).map(|(field, _)| field)
    }

    #[test]
    fn what_the_host_chooses_is_not_set() {
        assert_eq!(field(&json!({"priorityClassName": "", "preemptionPolicy": null})), None);
        for (spec, at) in [
            (json!({"priorityClassName": "system-node-critical"}), "spec.priorityClassName"),
            (json!({"priority": 0}), "spec.priority"),
            (json!({"preemptionPolicy": "Never"}), "spec.preemptionPolicy"),
            (json!({"serviceAccount": "weft"}), "spec.serviceAccount"),
        ] {
            let why = "it is the host's to choose; remove it".to_owned();
            assert_eq!(refused(&spec), Some((at.to_owned(), why)), "{spec}");
        }
    }

    #[test]
    fn only_known_sources_fill_volumes_and_variables() {
        let volume = |source: &str| json!({"volumes": [{"name": "v", source: {}}]});
        assert_eq!(field(&volume("emptyDir")), None);
        assert_eq!(field(&volume("future")).as_deref(), Some("spec.volumes[0].future"));
        assert_eq!(field(&volume("ephemeral")).as_deref(), Some("spec.volumes[0].ephemeral"));
        let source =
            |source: &str| json!({"volumes": [{"projected": {"sources": [{source: {"path": "a"}}]}}]});
        for refused in ["podCertificate", "clusterTrustBundle", "serviceAccountToken", "future"] {
            let at = format!("spec.volumes[0].projected.sources[0].{refused}");
            assert_eq!(field(&source(refused)), Some(at));
        }
        let env = |env: Value| json!({"ephemeralContainers": [{"env": [{"name": "A", "valueFrom": env}]}]});
        assert_eq!(field(&env(json!({"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}))), None);
        assert_eq!(
            field(&env(json!({"future": {}}))).as_deref(),
            Some("spec.ephemeralContainers[0].env[0].valueFrom.future")
        );
        let env_from = json!({"containers": [{"envFrom": [{"prefix": "A", "future": {"a": 1}}]}]});
        assert_eq!(field(&env_from).as_deref(), Some("spec.containers[0].envFrom[0].future"));
    }

    #[test]
    fn the_keys_of_a_map_are_no_fields() {
        assert_eq!(field(&json!({"nodeSelector": {"secretRef": "a", "hostPath": "b"}})), None);
        let limits =
            json!({"containers": [{"resources": {"limits": {"example.com/name": {"secretRef": "a"}}}}]});
        assert_eq!(
            field(&limits).as_deref(),
            Some("spec.containers[0].resources.limits[example.com/name].secretRef")
        );
    }

    #[test]
    fn a_value_of_another_shape_than_the_apis_is_searched() {
        assert_eq!(
            field(&json!({"containers": [{"image": {"secretRef": "a"}}]})).as_deref(),
            Some("spec.containers[0].image.secretRef")
        );
        assert_eq!(
            field(&json!({"containers": {"hostPath": "/"}})).as_deref(),
            Some("spec.containers.hostPath")
        );
        assert_eq!(field(&json!({"hostname": ["a"], "volumes": "none"})), None);
    }
}
