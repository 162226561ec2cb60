//! Endpoints: those that people write for Services without a selector; the host makes all others itself.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::service;
use crate::context::Ctx;
use crate::host_controllers::SERVICE_IMPORT_LABEL;
use crate::mapper::Mapper;
use crate::object::{HostObject, Key, Kind, Object, VirtualName, VirtualObject};
use crate::references::Reference;
use crate::spec::KindSpec;
use crate::verdict::{Hold, Verdict};

/// The label and value by which the endpoints controller marks what it makes from the selector of a Service.
const CONTROLLER: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
/// Marks Endpoints that only serve to elect a leader.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// The mapper of Endpoints.
#[derive(Debug)]
pub struct Endpoints;

static SPEC: LazyLock<KindSpec> = LazyLock::new(|| {
    KindSpec::core("Endpoints", "endpoints")
        .references([Reference::in_label(SERVICE_IMPORT_LABEL)])
        .managed(["/subsets"])
});

impl Mapper for Endpoints {
    fn spec(&self) -> &KindSpec {
        &SPEC
    }

    fn targets(&self, source: &VirtualObject) -> BTreeSet<Key> {
        BTreeSet::from([service_key(source.virtual_name())])
    }

    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, mut draft: HostObject) -> Verdict<HostObject> {
        if is_made_by_controller(source) {
            return Err(made_by_the_host());
        }
        if source.annotation(LEADER).is_some() {
            return Err(Hold::absent("they only serve to elect a leader"));
        }
        without_selector(ctx, source.virtual_name())?;
        for subset in items_mut(draft.pointer_mut("/subsets")) {
            for list in ["addresses", "notReadyAddresses"] {
                for address in items_mut(subset.get_mut(list)) {
                    target_to_host(ctx, source.namespace(), address);
                }
            }
        }
        Ok(draft)
    }
}

/// Whether the endpoints controller made these Endpoints from the selector of a Service.
pub fn is_made_by_controller<S>(endpoints: &Object<S>) -> bool {
    let (label, value) = CONTROLLER;
    endpoints.label(label) == Some(value)
}

/// The host's controllers make their own from the Service there.
pub(super) fn made_by_the_host() -> Hold {
    Hold::absent("the controllers of the host make their own")
}

/// Passes if the endpoints of the Service `name` are the tenant's to write.
pub(super) fn without_selector(ctx: &Ctx<'_>, name: VirtualName) -> Verdict<()> {
    if service::is_api(&name) {
        return Err(service::api_server());
    }
    let key = service_key(name);
    let Some(service) = ctx.lookup.object(&key) else {
        let why = format!("the {key} does not exist");
        return Err(Hold::wait(key, why));
    };
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    if selector.is_some_and(|selector| !selector.is_empty()) { Err(made_by_the_host()) } else { Ok(()) }
}

/// The key of the Service `name`.
pub(super) fn service_key(name: VirtualName) -> Key {
    Key { kind: Kind::new("v1/Service"), name }
}

/// Rewrites the `targetRef` of one endpoint that is in the virtual namespace `namespace`; only pods have a
/// host object to name.
pub(super) fn target_to_host(ctx: &Ctx<'_>, namespace: &str, endpoint: &mut Value) {
    let Some(fields) = endpoint.as_object_mut() else { return };
    let Some(target) = fields.get_mut("targetRef").and_then(Value::as_object_mut) else { return };
    let text = |field: &str| target.get(field).and_then(Value::as_str).map(str::to_owned);
    let (Some("Pod"), Some(name)) = (text("kind").as_deref(), text("name")) else {
        fields.remove("targetRef");
        return;
    };
    let name = VirtualName::new(text("namespace").unwrap_or_else(|| namespace.to_owned()), name);
    target.insert("name".to_owned(), ctx.names.host_name(&name).as_str().into());
    target.insert("namespace".to_owned(), ctx.names.namespace().into());
    target.remove("uid");
    target.remove("resourceVersion");
}

/// The elements of a list, to edit.
pub(super) fn items_mut(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}
