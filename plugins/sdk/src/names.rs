//! Translates names. In drafts, names and declared references are translated already, so few plugins need this.

/// The host name of the virtual object `name` in `namespace`; it is the same for every kind. Pass an empty namespace for
/// cluster-scoped kinds.
pub fn host_name(namespace: &str, name: &str) -> String {
    host::host_name(namespace, name)
}

/// A host name for an object that belongs to a virtual object and has no virtual counterpart, such as a Secret that a
/// host controller writes. Names with different `purpose` differ.
pub fn derived_name(purpose: &str, namespace: &str, name: &str) -> String {
    host::derived_name(purpose, namespace, name)
}

/// `text` with every host name of this virtual cluster replaced by the virtual name, for messages that the tenant reads.
/// `namespace` is the virtual namespace of the object that the text is about.
pub fn to_virtual_text(text: &str, namespace: &str) -> String {
    host::to_virtual_text(text, namespace)
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::weft::mapping::names as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing as host;
