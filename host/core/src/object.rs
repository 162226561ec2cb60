//! Kubernetes objects as whole JSON, with the side they belong to in their type.
//!
//! Objects stay JSON so that a field of a newer Kubernetes survives: a typed round trip would drop
//! what the bindings do not know. The two sides are different types so that a swapped argument does
//! not compile.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;

use crate::paths;

pub use crate::paths::Fields;

/// Marks objects of the tenant's cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Virtual {}

/// Marks objects of the cluster that really runs the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {}

/// An object of the tenant's cluster.
pub type VirtualObject = Object<Virtual>;

/// An object of the host cluster.
pub type HostObject = Object<Host>;

/// One Kubernetes object of side `S`, whole.
pub struct Object<S> {
    fields: Fields,
    side: PhantomData<fn() -> S>,
}

impl<S> Object<S> {
    /// Wraps the fields of an object.
    pub fn new(fields: Fields) -> Self {
        Self { fields, side: PhantomData }
    }

    /// Wraps a JSON value; anything but a JSON object gives `None`.
    pub fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self::new(fields)),
            _ => None,
        }
    }

    /// The object's fields.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The object's fields, to edit.
    pub fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }

    /// The object's fields, to keep.
    pub fn into_fields(self) -> Fields {
        self.fields
    }

    /// The object as a JSON value.
    pub fn into_json(self) -> Value {
        Value::Object(self.fields)
    }

    /// The value at an RFC 6901 pointer such as `/spec/nodeName`.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        paths::at_in(&self.fields, pointer)
    }

    /// The value at an RFC 6901 pointer, to edit.
    pub fn pointer_mut(&mut self, pointer: &str) -> Option<&mut Value> {
        let (first, rest) = paths::next(pointer)?;
        let value = self.fields.get_mut(first)?;
        if rest.is_empty() { Some(value) } else { value.pointer_mut(rest) }
    }

    /// The string at an RFC 6901 pointer; a missing or other value gives `None`.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.pointer(pointer)?.as_str()
    }

    /// Whether a server gave the metadata alone, as a `PartialObjectMetadata`.
    pub fn is_metadata_only(&self) -> bool {
        self.text("/kind") == Some("PartialObjectMetadata")
            && self.text("/apiVersion") == Some("meta.k8s.io/v1")
    }

    /// Makes it one.
    pub fn set_metadata_only(&mut self) {
        let fields = self.fields_mut();
        fields.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
        fields.insert("kind".to_owned(), "PartialObjectMetadata".into());
    }

    /// `metadata.name`, empty when missing.
    pub fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    /// `metadata.namespace`, empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace").unwrap_or_default()
    }

    /// `metadata.uid`, empty before the object was created.
    pub fn uid(&self) -> &str {
        self.text("/metadata/uid").unwrap_or_default()
    }

    /// `metadata.generation`, the server's count of spec changes.
    pub fn generation(&self) -> Option<i64> {
        self.pointer("/metadata/generation")?.as_i64()
    }

    /// Whether deletion has begun.
    pub fn is_terminating(&self) -> bool {
        self.pointer("/metadata/deletionTimestamp").is_some_and(|value| !value.is_null())
    }

    /// Grace period of the running deletion, in seconds.
    pub fn deletion_grace_seconds(&self) -> Option<i64> {
        self.pointer("/metadata/deletionGracePeriodSeconds")?.as_i64()
    }

    /// `metadata.labels`, if there are any.
    pub fn labels(&self) -> Option<&Fields> {
        self.pointer("/metadata/labels")?.as_object()
    }

    /// `metadata.labels` as strings.
    pub fn label_texts(&self) -> BTreeMap<String, String> {
        let labels = self.labels().into_iter().flatten();
        labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// The label of this key.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.get(key)?.as_str()
    }

    /// Whether the object has all these labels.
    pub fn has_labels(&self, labels: &[(String, String)]) -> bool {
        labels.iter().all(|(key, value)| self.label(key) == Some(value))
    }

    /// `metadata.annotations`, if there are any.
    pub fn annotations(&self) -> Option<&Fields> {
        self.pointer("/metadata/annotations")?.as_object()
    }

    /// The annotation of this key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations()?.get(key)?.as_str()
    }

    /// `metadata`, made where it is missing.
    pub fn metadata_mut(&mut self) -> &mut Fields {
        child_mut(&mut self.fields, "metadata")
    }

    /// `metadata.annotations`, made where it is missing.
    pub fn annotations_mut(&mut self) -> &mut Fields {
        child_mut(self.metadata_mut(), "annotations")
    }

    /// `metadata.labels`, made where it is missing.
    pub fn labels_mut(&mut self) -> &mut Fields {
        child_mut(self.metadata_mut(), "labels")
    }

    /// `spec`, made where it is missing.
    pub fn spec_mut(&mut self) -> &mut Fields {
        child_mut(&mut self.fields, "spec")
    }
}

impl VirtualObject {
    /// Name and namespace in the virtual cluster.
    pub fn virtual_name(&self) -> VirtualName {
        VirtualName { namespace: self.namespace().to_owned(), name: self.name().to_owned() }
    }
}

impl<S> Clone for Object<S> {
    fn clone(&self) -> Self {
        Self::new(self.fields.clone())
    }
}

impl<S> PartialEq for Object<S> {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

/// Names the object, never shows its content: Secrets pass through here.
impl<S> fmt::Debug for Object<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.text("/kind").unwrap_or("object");
        write!(f, "{kind} {}/{}", self.namespace(), self.name())
    }
}

/// The object field `name` of `fields`, made where it is missing or something else.
pub fn child_mut<'a>(fields: &'a mut Fields, name: &str) -> &'a mut Fields {
    let slot = fields.entry(name).or_insert_with(|| Value::Object(Fields::new()));
    if !slot.is_object() {
        *slot = Value::Object(Fields::new());
    }
    match slot {
        Value::Object(fields) => fields,
        // Made an object two lines above: this arm only satisfies the compiler.
        _ => unreachable_object(),
    }
}

#[expect(clippy::unreachable, reason = "the caller has just stored an object in that place")]
fn unreachable_object() -> ! {
    unreachable!("an object was just stored here")
}

/// A kind's address in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceType {
    /// API group, empty for the core group.
    pub group: Cow<'static, str>,
    /// API version, such as `v1`.
    pub version: Cow<'static, str>,
    /// Kind, such as `Pod`.
    pub kind: Cow<'static, str>,
    /// Name in URLs, such as `pods`.
    pub plural: Cow<'static, str>,
    /// Whether objects of this kind live in namespaces.
    pub namespaced: bool,
}

impl ResourceType {
    /// A namespaced kind of the core group, version `v1`.
    pub const fn core(kind: &'static str, plural: &'static str) -> Self {
        Self {
            group: Cow::Borrowed(""),
            version: Cow::Borrowed("v1"),
            kind: Cow::Borrowed(kind),
            plural: Cow::Borrowed(plural),
            namespaced: true,
        }
    }

    /// A kind of the core group, version `v1`, whose objects live in no namespace.
    pub const fn core_cluster(kind: &'static str, plural: &'static str) -> Self {
        let mut resource = Self::core(kind, plural);
        resource.namespaced = false;
        resource
    }

    /// `apiVersion` as objects carry it: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The short identity of the kind: `v1/Pod`, `discovery.k8s.io/v1/EndpointSlice`.
    pub fn kind(&self) -> Kind {
        Kind(format!("{}/{}", self.api_version(), self.kind).into())
    }
}

/// `apiVersion/Kind`, for example `v1/Pod`: what keys and identities carry.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(Arc<str>);

impl Kind {
    /// Wraps `apiVersion/Kind`.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The whole string, `v1/Pod`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part, `Pod`.
    pub fn short(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Whether objects of this kind are Secrets, whose content must be kept nowhere else. What another group
    /// calls a Secret is treated alike.
    pub fn is_secret(&self) -> bool {
        self.short() == "Secret"
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Namespace and name of an object in the virtual cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualName {
    /// Virtual namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// Virtual name.
    pub name: String,
}

impl VirtualName {
    /// A name in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for VirtualName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// One pair, by the name of its virtual object: what the queue carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The pair's kind.
    pub kind: Kind,
    /// The virtual object's name.
    pub name: VirtualName,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.short(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pointer_reaches_every_depth() {
        let object =
            VirtualObject::from_json(json!({"metadata": {"name": "a"}, "spec": {"x": [1, 2]}})).unwrap();
        assert_eq!(object.name(), "a");
        assert_eq!(object.pointer("/spec/x/1"), Some(&json!(2)));
        assert_eq!(object.pointer("/spec/y"), None);
    }

    #[test]
    fn debug_shows_no_content() {
        let secret = VirtualObject::from_json(
            json!({"kind": "Secret", "metadata": {"name": "a", "namespace": "b"}, "data": {"k": "c2VjcmV0"}}),
        );
        assert_eq!(format!("{:?}", secret.unwrap()), "Secret b/a");
    }
}
