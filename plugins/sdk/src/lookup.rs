//! Reads of other objects from the syncer's caches.
//!
//! Only what the descriptor asks for ([`crate::Descriptor::lookup`]) and the operator grants can be read. Whatever an
//! answer depended on is remembered: when it changes, or comes into being, the rule runs again by itself.

use std::fmt;

use serde_json::Value;

use crate::descriptor::{Side, kind};
use crate::{Object, bindings::weft::mapping::types::ObjectRef};

/// Why nothing can be read. With `?`, [`Error::NotSynced`] becomes a `wait` and the others a `fail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The operator has not granted it, or the descriptor does not ask for it.
    NotGranted,
    /// The cache is not full yet.
    NotSynced,
    /// More than one call may read in all.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotGranted => {
                "the plugin may not read this kind: grant it, or ask for it in the descriptor"
            }
            Self::NotSynced => "the syncer has not read this kind yet",
            Self::TooLarge => "more was read than one call may read",
        })
    }
}

impl std::error::Error for Error {}

/// The object, or none where there is none: `get(Side::VirtualSide, "v1/Secret", Some("shop"), "tls")`. Names are always
/// those of the virtual cluster; on the host side, it is the host object of the virtual object that is named.
pub fn get(side: Side, of_kind: &str, namespace: Option<&str>, name: &str) -> Result<Option<Object>, Error> {
    let target =
        ObjectRef { kind: kind(of_kind), namespace: namespace.map(str::to_owned), name: name.to_owned() };
    Ok(get_text(side, &target)?.map(Object::from_text))
}

/// Virtual objects of a kind in one namespace, or in all, that have all these labels, sorted by namespace and name.
pub fn find(of_kind: &str, namespace: Option<&str>, labels: &[(&str, &str)]) -> Result<Vec<Object>, Error> {
    let labels: Vec<(String, String)> =
        labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(find_texts(of_kind, namespace, &labels)?.into_iter().map(Object::from_text).collect())
}

/// One field of an object that is named: `field(Side::VirtualSide, "v1/ConfigMap", Some("shop"), "a", "/data/b")`. None where
/// there is no such object or field.
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
fn get_text(side: Side, target: &ObjectRef) -> Result<Option<String>, Error> {
    host::get(side, target).map_err(Error::from)
}

#[cfg(target_arch = "wasm32")]
fn find_texts(
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
use crate::testing::{find_texts, get_text};
