//! The descriptor of the component.

use serde_json::{Value, json};

use crate::bindings::exports::weft::mapping::plugin::Descriptor;
use crate::bindings::weft::mapping::types::{
    Directions, Inputs, Kind, LookupPermission, Mapping, Role, Selection, Side,
};

/// The file of a plugin has its name.
const NAME: &str = if cfg!(feature = "schema-spins") { "slow-schema" } else { "guest" };
const SCHEMA: &str = r#"{"type": "object", "properties": {"configure": {"type": "string"}}}"#;

pub(crate) fn describe() -> Descriptor {
    if cfg!(feature = "describe-spins") {
        crate::exhaust::spin();
    }
    if cfg!(feature = "describe-traps") {
        crate::exhaust::trap();
    }
    let mut mappings = vec![
        mapping(kind("", "Pod"), "pods", "/spec"),
        mapping(kind("", "ConfigMap"), "configmaps", "/data"),
    ];
    if cfg!(feature = "wants-too-much") {
        mappings.push(mapping(kind("rbac.authorization.k8s.io", "ClusterRole"), "clusterroles", "/rules"));
    }
    if cfg!(feature = "worst") {
        let slices = kind("discovery.k8s.io", "EndpointSlice");
        mappings.push(mapping(kind("", "Secret"), "secrets", "/type"));
        mappings.push(mapping(slices, "endpointslices", "/endpoints"));
        mappings.push(mapping(kind("", "PersistentVolumeClaim"), "persistentvolumeclaims", "/spec"));
    }
    Descriptor {
        name: NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        summary: "misbehaves\u{1b}[31m on request".to_owned(),
        mappings,
        lookups: vec![lookup("Secret", "secrets"), lookup("Service", "services")],
        settings_schema: Some(schema()),
        uses_time: false,
        extra: Vec::new(),
    }
}

fn schema() -> String {
    if cfg!(feature = "schema-spins") { levels(60).to_string() } else { SCHEMA.to_owned() }
}

/// Each level asks for the next one twice, and in the end it is refused: all ways are tried.
fn levels(number: usize) -> Value {
    let name = |level: usize| format!("l{level}");
    let next = |level: usize| json!({"$ref": format!("#/$defs/l{}", level + 1)});
    let level = |level: usize| (name(level), json!({"anyOf": [next(level), next(level)]}));
    let end = (name(number), json!({"type": "integer"}));
    let levels: serde_json::Map<String, Value> = (0..number).map(level).chain([end]).collect();
    json!({"$ref": "#/$defs/l0", "$defs": levels})
}

pub(crate) fn kind(group: &str, name: &str) -> Kind {
    Kind { group: group.to_owned(), version: "v1".to_owned(), kind: name.to_owned() }
}

fn mapping(kind: Kind, plural: &str, writes: &str) -> Mapping {
    Mapping {
        kind,
        plural: plural.to_owned(),
        role: Role::Mutate(500),
        directions: Directions::TO_HOST | Directions::TO_VIRTUAL,
        inputs: Inputs::VIRTUAL_OBJECT | Inputs::HOST_OBJECT,
        selection: Selection::All,
        references: Vec::new(),
        selectors: Vec::new(),
        host_writes: vec![writes.to_owned()],
        virtual_writes: Vec::new(),
        install_definition: false,
        extra: Vec::new(),
    }
}

fn lookup(name: &str, plural: &str) -> LookupPermission {
    LookupPermission {
        side: Side::VirtualSide,
        kind: kind("", name),
        plural: plural.to_owned(),
        fields: Vec::new(),
    }
}
