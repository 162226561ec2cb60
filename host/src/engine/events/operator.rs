//! Composes events for operators: on the host, about the Service of the virtual API server.

use serde_json::json;
use weft_core::digest;
use weft_core::object::HostObject;

use crate::engine::cache::state::State;

/// The event as it is created now; none while the Service is not known.
pub(crate) fn compose(state: &State, is_warning: bool, reason: &str, message: &str) -> Option<HostObject> {
    let (service, now) = (state.service()?, state.ambient.now());
    let id = digest::of_value(&json!([reason, message]));
    // The time makes it another event than the one of an earlier hour.
    let name = format!("{}.{}{:x}", service.name(), id.get(..8).unwrap_or_default(), now.as_millisecond());
    HostObject::from_json(json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": state.names.namespace()},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Service", "namespace": state.names.namespace(),
            "name": service.name(), "uid": service.uid(),
        },
        "type": if is_warning { "Warning" } else { "Normal" },
        "reason": reason, "message": message,
        "source": {"component": "weft"}, "reportingComponent": "weft",
        "firstTimestamp": now.to_string(), "lastTimestamp": now.to_string(), "count": 1,
    }))
}
