//! Completes the objects of a case with the metadata that they leave out.

use serde_json::Value;
use weft_core::context::Notes;
use weft_core::keys::IDENTITY;
use weft_core::mapper::Mapper;
use weft_core::object::{Fields, HostObject, VirtualObject, child_mut};
use weft_core::offline::Offline;

use crate::author::trace;

/// The given host object of `source`, with the name and the identity that it must have.
pub(super) fn host(
    around: &Offline,
    mapper: &dyn Mapper,
    source: &VirtualObject,
    given: &Fields,
) -> HostObject {
    let notes = Notes::default();
    let draft = trace::draft(&around.ctx(None, &notes), mapper, source);
    let mut object = given.clone();
    for field in ["apiVersion", "kind"] {
        let value = draft.fields().get(field).cloned().unwrap_or_default();
        object.entry(field).or_insert(value);
    }
    let metadata = child_mut(&mut object, "metadata");
    for (field, value) in draft.fields().get("metadata").and_then(Value::as_object).into_iter().flatten() {
        match (field.as_str(), value) {
            ("name" | "namespace", value) => {
                metadata.insert(field.clone(), value.clone());
            }
            // Given values stay; missing ones are added.
            (_, Value::Object(entries)) => {
                let slot = child_mut(metadata, field);
                for (key, value) in entries {
                    slot.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            (_, value) => {
                metadata.entry(field.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    HostObject::new(object)
}

/// Puts everything there that the plugin could look up: the object itself and `others`.
pub(super) fn add_objects(around: &mut Offline, source: &VirtualObject, others: &[Fields]) {
    around.add(source.clone());
    for fields in others {
        let object = HostObject::new(fields.clone());
        if object.annotation(IDENTITY).is_some() {
            around.add_host(object);
        } else {
            around.add(VirtualObject::new(fields.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::workbench::surroundings;
    use serde_json::json;
    use weft_core::kinds;
    use weft_core::names::Identity;

    fn fields(value: &Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_host_object_without_metadata_gets_the_name_and_identity_of_its_pair() {
        let around = surroundings().unwrap();
        let source = fields(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}),
        );
        let source = VirtualObject::new(source);
        let mappers = kinds::builtin();
        let mapper =
            mappers.iter().find(|mapper| mapper.spec().resource.kind().as_str() == "v1/ConfigMap").unwrap();
        let given = fields(&json!({"metadata": {"labels": {"mine": "x"}}, "data": {"k": "v"}}));
        let host = host(&around, mapper.as_ref(), &source, &given);
        assert_eq!((host.name(), host.namespace()), ("a-x-b-x-my-vcluster", "team-a"));
        assert_eq!(around.names.identity(&host), Identity::of(&host));
        assert_eq!((host.label("mine"), host.text("/data/k")), (Some("x"), Some("v")));
    }
}
