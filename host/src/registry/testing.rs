//! What tests of the registry stand on: mappings with nothing in them, and a plugin that answers without
//! WebAssembly.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::json;
use weft_core::context::Ctx;
use weft_core::edit::Edit;
use weft_core::extension::{Answer, Extension, Failure, OnFailure, Request, Terms};
use weft_core::object::ResourceType;
use weft_core::spec::Selection;

use crate::registry::Plugin;
use crate::registry::descriptor::{Descriptor, Mapping, Role};

/// A kind that nobody maps.
pub(crate) fn cat() -> ResourceType {
    ResourceType {
        group: Cow::Borrowed("example.com"),
        version: Cow::Borrowed("v1"),
        kind: Cow::Borrowed("Cat"),
        plural: Cow::Borrowed("cats"),
        namespaced: true,
    }
}

/// A mapping to the host that writes `/data`.
pub(crate) fn mapping(resource: ResourceType, role: Role) -> Mapping {
    Mapping {
        resource,
        role,
        to_host: true,
        to_virtual: false,
        wants_virtual: false,
        wants_host: false,
        selection: Selection::All,
        references: Vec::new(),
        selectors: Vec::new(),
        host_writes: vec!["/data".to_owned()],
        virtual_writes: vec!["/status".to_owned()],
        installs_definition: false,
    }
}

/// The descriptor of a plugin with these mappings.
pub(crate) fn descriptor(name: &str, mappings: Vec<Mapping>) -> Descriptor {
    Descriptor {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        summary: String::new(),
        mappings,
        lookups: Vec::new(),
        settings_schema: None,
        uses_time: false,
    }
}

/// A plugin that appends its name to `/data/by`.
pub(crate) struct Double {
    descriptor: Descriptor,
    may_act_for_others: bool,
}

impl Double {
    pub(crate) fn new(descriptor: Descriptor, may_act_for_others: bool) -> Self {
        Self { descriptor, may_act_for_others }
    }
}

/// A plugin with one mapping.
pub(crate) fn plugin(name: &str, mapping: Mapping) -> Arc<dyn Plugin> {
    Arc::new(Double::new(descriptor(name, vec![mapping]), false))
}

struct Rule {
    name: String,
    terms: Terms,
}

impl Plugin for Double {
    fn name(&self) -> &str {
        &self.descriptor.name
    }

    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn may_act_for_others(&self) -> bool {
        self.may_act_for_others
    }

    fn extension(self: Arc<Self>, mapping: &Mapping) -> Arc<dyn Extension> {
        let terms = Terms {
            to_host: mapping.to_host,
            to_virtual: mapping.to_virtual,
            host_writes: mapping.host_writes.clone(),
            virtual_writes: mapping.virtual_writes.clone(),
            on_failure: OnFailure::Hold,
        };
        Arc::new(Rule { name: self.descriptor.name.clone(), terms })
    }
}

impl Extension for Rule {
    fn name(&self) -> &str {
        &self.name
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn call(&self, _: &Ctx<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
        let before = request.draft.get("data").and_then(|data| data.get("by")).and_then(|by| by.as_str());
        let by = before.map_or_else(|| self.name.clone(), |before| format!("{before} {}", self.name));
        let verdict = Ok(Edit::Merge(json!({"data": {"by": by}})));
        Ok(Answer { verdict, events: Vec::new(), conditions: None })
    }

    fn refused(&self, _: &Failure) {}
}
