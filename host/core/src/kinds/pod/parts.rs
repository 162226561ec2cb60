//! Reaches the parts of a pod that several steps of its mapping read or edit.

use serde_json::Value;

use crate::object::{Fields, HostObject, Object};

/// The lists of containers, in the order in which they start.
pub(super) const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The elements of the list at `pointer`; none where there is no list.
pub(super) fn items<'a, S>(
    object: &'a Object<S>,
    pointer: &str,
) -> impl Iterator<Item = &'a Value> + use<'a, S> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The elements of the list `name` of `value`.
pub(super) fn items_in<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// The objects in the list at `pointer`, to edit.
pub(super) fn objects_mut<'a>(
    object: &'a mut HostObject,
    pointer: &str,
) -> impl Iterator<Item = &'a mut Fields> + use<'a> {
    object
        .pointer_mut(pointer)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// The string field `name` of `value`, empty when missing.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The first element whose field `key` is `value`.
pub(super) fn find<'a>(
    mut items: impl Iterator<Item = &'a Value>,
    key: &str,
    value: &str,
) -> Option<&'a Value> {
    items.find(|item| text(item, key) == value)
}

/// The `ServiceAccount` that the tenant's pod runs as.
pub(super) fn service_account<S>(pod: &Object<S>) -> &str {
    pod.text("/spec/serviceAccountName").filter(|name| !name.is_empty()).unwrap_or("default")
}

/// Whether the pod shares the network of its node.
pub(super) fn is_host_network<S>(pod: &Object<S>) -> bool {
    pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true))
}
