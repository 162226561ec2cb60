//! The one trait behind which a kind's rules stand, built in or loaded.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::context::{Ctx, Problem};
use crate::diff;
use crate::object::{HostObject, Key, Object, ResourceType, VirtualObject, child_mut};
use crate::references::{self, Reference};

/// One kind's rules. Pure and synchronous: the same input gives the same answer, anywhere.
pub trait Mapper: Send + Sync {
    /// The kind that is mapped; the same on both sides.
    fn resource(&self) -> &ResourceType;

    /// Where objects of this kind name other objects of their namespace.
    fn references(&self) -> &[Reference] {
        &[]
    }

    /// The objects that `source` names: it is looked at again when one of them changes.
    fn targets(&self, source: &VirtualObject) -> BTreeSet<Key> {
        references::targets(self.references(), source)
    }

    /// How pairs of this kind live and die.
    fn policy(&self) -> &Policy {
        &Policy::DATA
    }

    /// Fields that are wholly ours on the host, as pointers: what the virtual object lacks there is removed.
    fn owned(&self) -> Vec<&str> {
        vec!["/spec", "/data"]
    }

    /// Whether every API server has the kind, so that no work begins before its objects are known.
    fn is_essential(&self) -> bool {
        true
    }

    /// Whether the rules may take so long that they must not run where others wait for them.
    fn is_lengthy(&self) -> bool {
        false
    }

    /// Whether virtual objects of this kind have a `status` with conditions.
    fn has_conditions(&self) -> bool {
        false
    }

    /// Kinds of the virtual cluster that the rules look up, synced or not.
    fn looks_up(&self) -> &[ResourceType] {
        &[]
    }

    /// Whether the host's definition of this custom resource is to be installed in the virtual cluster.
    fn installs_definition(&self) -> bool {
        false
    }

    /// The host object for `source`, or why there is none.
    ///
    /// `draft` already has its host name, namespace, labels, annotations, owner and rewritten
    /// references; change only what this kind needs. `status` is not in it.
    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, draft: HostObject) -> Result<HostObject, Hold>;

    /// Whether a host object may be made for `source` where there is none: not if it says of itself that it
    /// had one whose loss cannot be made good.
    fn before_create(&self, _source: &VirtualObject) -> Result<(), Hold> {
        Ok(())
    }

    /// What of `desired` to create: some fields can only be added to an object that is there already.
    fn creatable(&self, desired: HostObject) -> HostObject {
        desired
    }

    /// What flows back: `draft` is the virtual object as it stands; return it with the status and the
    /// fields that the host owns.
    fn to_virtual(&self, _ctx: &Ctx<'_>, _source: &HostObject, draft: VirtualObject) -> VirtualObject {
        draft
    }

    /// The patches that bring `current` to `desired`, in order; metadata is not this function's
    /// business. Fields that the host defaulted or that others added stay.
    fn host_changes(&self, desired: &HostObject, current: &HostObject) -> Vec<Change> {
        diff::owned(&self.owned(), desired, current).into_iter().collect()
    }

    /// The patches that tell the host what the tenant says in the status of `source`. Most kinds have none:
    /// status flows the other way.
    fn status_changes(&self, _source: &VirtualObject, _current: &HostObject) -> Vec<Change> {
        Vec::new()
    }

    /// Whether no patch can bring `current` to `desired`, so that the host object has to be made anew.
    fn replace(&self, _desired: &HostObject, _current: &HostObject) -> bool {
        false
    }

    /// The patches that bring the virtual object `current` to `desired`, which [`Self::to_virtual`] made.
    fn virtual_changes(&self, desired: &VirtualObject, current: &VirtualObject) -> Vec<Change> {
        diff::exact_changes(desired, current)
    }

    /// What of `desired` we can still change later; its digest stands on the host object.
    fn digest_view(&self, desired: &HostObject) -> Value {
        diff::view(&self.owned(), desired)
    }

    /// The host object to try instead when the host refused the fields `refused` (its own notation,
    /// such as `spec.clusterIPs`); `None` when there is nothing to leave to the host. `refused` is empty
    /// when the host failed without naming a field.
    fn relax(&self, _desired: &HostObject, _refused: &[String]) -> Option<HostObject> {
        None
    }
}

/// How pairs of a kind live and die.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which virtual objects get a host object.
    pub selection: Selection,
    /// What the loss of a host object means.
    pub life: Life,
}

impl Policy {
    /// Every object, put back when it is lost.
    pub const DATA: Self = Self { selection: Selection::All, life: Life::Data };
}

/// Which virtual objects get a host object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those that an object on the host names.
    Used,
}

/// What the loss of a host object means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is made again: nothing but its content matters.
    Data,
    /// It ran and cannot run again: the virtual object goes too. Deletion has a grace period.
    Process,
}

/// Why an object has no host object, or why the one it has is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// It belongs in the virtual cluster only; a host object is removed.
    Absent,
    /// Something else has to come first; looked at again when one of `on` changes.
    Wait {
        /// What is waited for.
        on: BTreeSet<Key>,
        /// For people, in one clause: `the DNS Service has no address yet`.
        why: String,
        /// Looked at again after this time as well.
        after: Option<Duration>,
    },
    /// It asks for something that a tenant cannot have; told by an event, looked at again when it changes.
    Refuse {
        /// The field, in Kubernetes notation: `spec.volumes[2].hostPath`.
        field: String,
        /// For people: what is wrong and what to do.
        why: String,
    },
    /// A loaded rule says that the tenant has to change the object; told by an event, looked at again when
    /// it changes.
    Reject(Problem),
    /// A loaded rule wants the other side left as it is.
    Skip(Problem),
    /// A loaded rule did not work; told by an event, tried again with growing pauses.
    Fail(Problem),
}

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
