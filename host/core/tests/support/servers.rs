//! Two servers in memory: just enough of them to carry out a plan and to plan again.

use serde_json::{Map, Value, json};
use weft_core::change::{Change, PatchFormat};
use weft_core::mapper::Mapper;
use weft_core::object::{HostObject, VirtualObject};
use weft_core::plan::{Plan, Seen, Step, plan};

use crate::cases::World;

/// How often a pair may be planned before it must be in sync.
const MOST_ROUNDS: usize = 6;

/// One pair, as both servers hold it.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// The virtual object.
    pub(crate) source: Option<VirtualObject>,
    /// The host object.
    pub(crate) host: Option<HostObject>,
}

impl Pair {
    /// A virtual object that the host does not have.
    pub(crate) fn new(source: VirtualObject) -> Self {
        Self { source: Some(source), host: None }
    }

    /// What is to be done now.
    pub(crate) fn plan(&self, world: &World, mapper: &dyn Mapper) -> Plan {
        let seen = Seen {
            virtual_object: self.source.as_ref(),
            host_object: self.host.as_ref(),
            used: true,
            ..Seen::default()
        };
        plan(&world.ctx(), mapper, seen)
    }

    /// Carries out a step and answers as the servers do.
    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::CreateHost(object) => self.host = Some(created(object)),
            Step::PatchHost { change, .. } => {
                let host = self.host.take().map(|host| patched(host.into_json(), change));
                self.host = host.and_then(HostObject::from_json);
            }
            Step::DeleteHost { .. } => self.host = None,
            Step::PatchVirtual { change, .. } => {
                let source = self.source.take().map(|source| patched(source.into_json(), change));
                self.source = source.and_then(VirtualObject::from_json);
            }
            Step::Bind { node, .. } => {
                if let Some(source) = &mut self.source {
                    source.spec_mut().insert("nodeName".to_owned(), node.as_str().into());
                }
            }
            Step::DeleteVirtual { .. } => self.source = None,
        }
    }

    /// Plans and carries out until nothing is left to do; gives every step.
    pub(crate) fn settle(&mut self, world: &World, mapper: &dyn Mapper) -> Vec<Step> {
        let mut done = Vec::new();
        for _ in 0..MOST_ROUNDS {
            let steps = self.plan(world, mapper).steps;
            if steps.is_empty() {
                return done;
            }
            for step in &steps {
                self.apply(step);
            }
            done.extend(steps);
        }
        panic!("never comes to rest; the last steps: {:#?}", done.iter().rev().take(4).collect::<Vec<_>>());
    }
}

/// A new object with what a server adds to it.
fn created(object: &HostObject) -> HostObject {
    let mut object = object.clone();
    let metadata = object.metadata_mut();
    metadata.insert("uid".to_owned(), "22222222-2222-2222-2222-222222222222".into());
    metadata.insert("resourceVersion".to_owned(), "1".into());
    metadata.insert("creationTimestamp".to_owned(), "2026-01-01T00:00:00Z".into());
    metadata.insert("generation".to_owned(), 1.into());
    metadata.insert("managedFields".to_owned(), json!([{"manager": "weft"}]));
    object
}

fn patched(mut object: Value, change: &Change) -> Value {
    match change.format {
        PatchFormat::Merge => merge(&mut object, &change.body),
        PatchFormat::Strategic => strategic(&mut object, &change.body),
    }
    object
}

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    make_object(target);
    for (name, value) in patch {
        change_field(target, name, value, merge);
    }
}

/// The part of Kubernetes' strategic merge that our mappers use: lists of objects with names are merged by it.
fn strategic(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Array(have), Value::Array(patch)) if key_of_list(patch).is_some() => {
            for element in patch {
                strategic_element(have, element, key_of_list(patch).unwrap_or("name"));
            }
        }
        (target, Value::Object(patch)) => {
            make_object(target);
            for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
                change_field(target, name, value, strategic);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn strategic_element(have: &mut Vec<Value>, element: &Value, key: &str) {
    let place = have.iter().position(|old| old.get(key) == element.get(key));
    match (place, element.get("$patch").and_then(Value::as_str)) {
        (Some(place), Some("delete")) => drop(have.remove(place)),
        (None, Some("delete")) => {}
        (Some(place), _) => have.get_mut(place).into_iter().for_each(|old| strategic(old, element)),
        (None, _) => have.push(element.clone()),
    }
}

fn key_of_list(patch: &[Value]) -> Option<&'static str> {
    ["name", "type", "uid"].into_iter().find(|key| patch.iter().all(|element| element.get(key).is_some()))
}

fn change_field(target: &mut Value, name: &str, value: &Value, change: fn(&mut Value, &Value)) {
    let Value::Object(fields) = target else { return };
    if value.is_null() {
        fields.remove(name);
    } else {
        change(fields.entry(name).or_insert(Value::Null), value);
    }
}

fn make_object(target: &mut Value) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
}
