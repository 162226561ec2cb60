//! How a kind is mapped: what the mapper does with an object, and how the objects of a pair are patched.
//!
//! What the kind is, as data, stands in its [`KindSpec`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::change::Change;
use crate::context::Ctx;
use crate::diff;
use crate::object::{HostObject, Key, VirtualObject};
use crate::references;
use crate::refused;
use crate::spec::KindSpec;
use crate::verdict::Verdict;

/// What a kind does, whether it is built in, declared or added by a plugin. Pure and synchronous: the same
/// input gives the same answer, anywhere.
pub trait Mapper: Send + Sync {
    /// What the kind is.
    fn spec(&self) -> &KindSpec;

    /// The host object for `source`, or why there is none.
    ///
    /// `draft` already has its host name, namespace, labels, annotations, owner and rewritten
    /// references; change only what this kind needs. `status` is not in it.
    fn to_host(&self, ctx: &Ctx<'_>, source: &VirtualObject, draft: HostObject) -> Verdict<HostObject>;

    /// What flows back: `draft` is the virtual object as it stands; return it with the status and the
    /// fields that the host owns.
    fn to_virtual(&self, _ctx: &Ctx<'_>, _source: &HostObject, draft: VirtualObject) -> VirtualObject {
        draft
    }

    /// How the objects of a pair are patched: by the managed fields alone, unless the kind says otherwise.
    fn patcher(&self) -> &dyn Patcher {
        self.spec()
    }

    /// The objects that `source` names: it is requeued when one of them changes.
    fn targets(&self, source: &VirtualObject) -> BTreeSet<Key> {
        references::targets(&self.spec().references, source)
    }
}

/// How the objects of a pair are created and patched.
pub trait Patcher: Send + Sync {
    /// The managed fields: see [`KindSpec::managed`].
    fn managed(&self) -> &[String];

    /// Whether a host object may be created for `source` where there is none: not if it says of itself that
    /// it had one whose loss cannot be made good.
    fn before_create(&self, _source: &VirtualObject) -> Verdict<()> {
        Ok(())
    }

    /// What of `desired` to create: some fields can only be added to an object that is there already.
    fn creatable(&self, desired: HostObject) -> HostObject {
        desired
    }

    /// The patches that bring `current` to `desired`, in order; metadata is not this function's
    /// business. Fields that the host defaulted or that others added stay.
    fn host_changes(&self, desired: &HostObject, current: &HostObject) -> Vec<Change> {
        diff::managed(self.managed(), desired, current).into_iter().collect()
    }

    /// The patches of the host object's status that follow from the status of `source`. Most kinds have
    /// none: status flows the other way.
    fn status_changes(&self, _source: &VirtualObject, _current: &HostObject) -> Vec<Change> {
        Vec::new()
    }

    /// Whether no patch can bring `current` to `desired`, so that the host object has to be recreated.
    fn must_recreate(&self, _desired: &HostObject, _current: &HostObject) -> bool {
        false
    }

    /// Whether `host`, which has the name for `source` and has lost its identity, is of `source` and not of an older
    /// object of its name. Of most kinds that does not matter: it gets the content of `source`.
    fn is_of(&self, _source: &VirtualObject, _host: &HostObject) -> bool {
        true
    }

    /// The patches that bring the virtual object `current` to `desired`, which [`Mapper::to_virtual`] made.
    fn virtual_changes(&self, desired: &VirtualObject, current: &VirtualObject) -> Vec<Change> {
        diff::exact_changes(desired, current)
    }

    /// An object whose creation the virtual server has to accept, as a dry run, before [`Patcher::virtual_changes`] are begun:
    /// where they lead through a state in which nobody could use the object, and the second could be refused.
    fn virtual_trial(&self, _desired: &VirtualObject, _current: &VirtualObject) -> Option<VirtualObject> {
        None
    }

    /// The virtual object to write instead when its server refused the fields `refused` of `desired`, in its own notation, or
    /// failed without naming one: these stay as `current` has them, and the rest flows back. `None` when there is nothing to
    /// leave out.
    fn relax_virtual(
        &self,
        desired: &VirtualObject,
        current: &VirtualObject,
        refused: &[String],
    ) -> Option<VirtualObject> {
        refused::kept(desired, current, refused)
    }

    /// What an event says that the host does not let the syncer do, when it refuses to bring `current` to `desired`: a verb, and
    /// what it needs.
    fn verb_on_host(&self, _desired: &HostObject, _current: &HostObject) -> Cow<'static, str> {
        "patch".into()
    }

    /// The same when the virtual server refuses what flows back.
    fn verb_on_virtual(&self) -> &'static str {
        "patch"
    }

    /// What of `desired` can still be changed later; its digest stands on the host object.
    fn digest_view(&self, desired: &HostObject) -> Value {
        diff::view(self.managed(), desired)
    }

    /// What of `desired` is remembered on the host object field by field, where the host's admission may have changed what
    /// was written and only the fields that the tenant changes are to be written again.
    fn wanted(&self, _desired: &HostObject) -> Option<Value> {
        None
    }

    /// The host object to try instead when the host refused the fields `refused` (its own notation,
    /// such as `spec.clusterIPs`); `None` when there is nothing to leave to the host.
    fn relax(&self, _desired: &HostObject, _refused: &[String]) -> Option<HostObject> {
        None
    }

    /// The same when the host failed: `desired` without what a host refuses by a failure that names no field;
    /// `None` when there is nothing of the kind in it.
    fn relax_unnamed(&self, _desired: &HostObject) -> Option<HostObject> {
        None
    }
}

/// The patcher of kinds that need nothing special.
impl Patcher for KindSpec {
    fn managed(&self) -> &[String] {
        &self.managed
    }
}
