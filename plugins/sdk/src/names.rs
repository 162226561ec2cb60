//! How names are made. Drafts have their names and declared references done already, so this is rarely needed.

/// The name that the virtual object `name` in `namespace` has on the host, whatever its kind. An empty namespace stands
/// for kinds that live in none.
pub fn host_name(namespace: &str, name: &str) -> String {
    host::host_name(namespace, name)
}

/// A host name for something that belongs to a virtual object without being one, such as a Secret that a host
/// controller is to write. `purpose` keeps several apart.
pub fn derived_name(purpose: &str, namespace: &str, name: &str) -> String {
    host::derived_name(purpose, namespace, name)
}

/// `text` about an object of the virtual namespace `namespace`, with every host name of this virtual cluster in it
/// replaced by the virtual one. For messages that flow back.
pub fn reveal(text: &str, namespace: &str) -> String {
    host::reveal(text, namespace)
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::weft::mapping::names as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing as host;
