//! Reads other objects from the syncer's caches.
//!
//! A plugin can read only what its descriptor requests ([`crate::Descriptor::lookup`]) and the operator grants. weft
//! records every lookup: when a result changes, or an object that was missing is created, the rule runs again.

use std::fmt;

use serde_json::Value;

use crate::descriptor::{Side, kind};
use crate::{Object, bindings::weft::mapping::types::ObjectRef};

/// Why nothing can be read. With `?`, [`Error::NotSynced`] becomes a `wait` and the others a `fail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The operator has not granted it, or the descriptor does not request it.
    NotGranted,
    /// The cache is not synced yet.
    NotSynced,
    /// The call has read more than one call may.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotGranted => {
                "the plugin may not read this kind: request it in the descriptor, and grant it"
            }
            Self::NotSynced => "the cache of this kind is not synced yet",
            Self::TooLarge => "the call has read more than one call may",
        })
    }
}

impl std::error::Error for Error {}

/// The object, or none if it does not exist: `get(Side::VirtualSide, "v1/Secret", Some("shop"), "tls")`. Names are always
/// those of the virtual cluster; on the host side, the result is the host object of the named virtual object.
pub fn get(side: Side, of_kind: &str, namespace: Option<&str>, name: &str) -> Result<Option<Object>, Error> {
    let target =
        ObjectRef { kind: kind(of_kind), namespace: namespace.map(str::to_owned), name: name.to_owned() };
    Ok(get_json(side, &target)?.map(Object::from_json))
}

/// The virtual objects of a kind that have all these labels, in one namespace or in all, sorted by namespace and name.
pub fn find(of_kind: &str, namespace: Option<&str>, labels: &[(&str, &str)]) -> Result<Vec<Object>, Error> {
    let labels: Vec<(String, String)> =
        labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(find_json(of_kind, namespace, &labels)?.into_iter().map(Object::from_json).collect())
}

/// One field of an object: `field(Side::VirtualSide, "v1/ConfigMap", Some("shop"), "a", "/data/b")`. None if
/// the object or the field does not exist.
pub fn field(
    side: Side,
    of_kind: &str,
    namespace: Option<&str>,
    name: &str,
    pointer: &str,
) -> Result<Option<Value>, Error> {
    Ok(get(side, of_kind, namespace, name)?.and_then(|object| object.get(pointer).cloned()))
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::weft::mapping::lookup as host;

#[cfg(target_arch = "wasm32")]
fn get_json(side: Side, target: &ObjectRef) -> Result<Option<String>, Error> {
    host::get(side, target).map_err(Error::from)
}

#[cfg(target_arch = "wasm32")]
fn find_json(
    of_kind: &str,
    namespace: Option<&str>,
    labels: &[(String, String)],
) -> Result<Vec<String>, Error> {
    host::find(&kind(of_kind), namespace, labels).map_err(Error::from)
}

#[cfg(target_arch = "wasm32")]
impl From<host::LookupError> for Error {
    fn from(error: host::LookupError) -> Self {
        match error {
            host::LookupError::NotGranted => Self::NotGranted,
            host::LookupError::NotSynced => Self::NotSynced,
            host::LookupError::TooLarge => Self::TooLarge,
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::{find_json, get_json};
