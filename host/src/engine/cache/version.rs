//! A server's version of an object, and how two of them are compared.

use std::cmp::Ordering;

use weft_core::object::Object;

/// A server's version of an object: digits, compared as numbers of any length.
///
/// Since Kubernetes 1.35 resource versions of one resource can be ordered this way (KEP-5504); servers
/// before did the same without promising it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResourceVersion(String);

impl ResourceVersion {
    /// Reads `metadata.resourceVersion`.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The string that the server gave, to be sent back to it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this version is newer than `other`.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Greater
    }

    /// The newer one is the greater.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let (ours, others) = (self.0.trim_start_matches('0'), other.0.trim_start_matches('0'));
        (ours.len(), ours).cmp(&(others.len(), others))
    }
}

/// The version that an object carries.
pub(crate) fn version_of<S>(object: &Object<S>) -> ResourceVersion {
    ResourceVersion::new(object.text("/metadata/resourceVersion").unwrap_or_default())
}

/// How often what the caches have of each server has stopped being its past: it was another server, or its storage went back.
#[derive(Clone, Copy)]
pub(crate) struct Epochs {
    pub(crate) host: u64,
    pub(crate) r#virtual: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let newer = |a: &str, b: &str| ResourceVersion::new(a).is_newer_than(&ResourceVersion::new(b));
        assert!(newer("10", "9") && !newer("9", "10") && !newer("7", "7") && newer("100", "099"));
    }
}
