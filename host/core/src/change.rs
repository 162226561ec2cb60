//! One patch of one object, and how it is to be read.

use serde_json::Value;

use crate::object::{Object, child_mut};

/// One patch of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The subresource that takes it, such as `status`; none for the object itself.
    pub subresource: Option<&'static str>,
    /// How `body` is to be read.
    pub format: PatchFormat,
    /// The patch.
    pub body: Value,
}

/// How a patch is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchFormat {
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge: lists are merged by their declared key, so that what others
    /// added to them stays.
    Strategic,
}

impl Change {
    /// An RFC 7386 patch of the object itself.
    pub fn merge(body: Value) -> Self {
        Self { subresource: None, format: PatchFormat::Merge, body }
    }

    /// An RFC 7386 patch of a subresource.
    pub fn merge_in(subresource: &'static str, body: Value) -> Self {
        Self { subresource: Some(subresource), format: PatchFormat::Merge, body }
    }

    /// A strategic merge patch of the object itself or of a subresource.
    pub fn strategic(subresource: Option<&'static str>, body: Value) -> Self {
        Self { subresource, format: PatchFormat::Strategic, body }
    }

    /// Has each patch that replaces `status.conditions` be refused where `object` is no longer the version that
    /// it was made for.
    pub fn guard_conditions<S>(changes: &mut [Self], object: &Object<S>) {
        let with_conditions =
            changes.iter_mut().filter(|change| change.body.pointer("/status/conditions").is_some());
        with_conditions.for_each(|change| change.only_for_version_of(object));
    }

    /// Has the patch be refused where `object` is no longer the version that it was made for.
    pub fn only_for_version_of<S>(&mut self, object: &Object<S>) {
        if let (Some(version), Some(body)) =
            (object.text("/metadata/resourceVersion"), self.body.as_object_mut())
        {
            child_mut(body, "metadata").insert("resourceVersion".into(), version.into());
        }
    }
}
