//! Decides what to do with one pair, given what both clusters show. No I/O.

mod identity;
mod metadata;

use serde_json::Value;

use crate::change::Change;
use crate::conditions;
use crate::context::Ctx;
use crate::mapper::Mapper;
use crate::names::{HostName, Identity};
use crate::object::{HostObject, VirtualName, VirtualObject};
use crate::spec::{Life, Selection};
use crate::translate;
use crate::verdict::Hold;
use identity::{is_host_object_of, unproven};
use metadata::with_metadata;

/// What both caches show of one pair.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// The virtual object.
    pub virtual_object: Option<&'a VirtualObject>,
    /// The host object, if it is ours: see [`crate::names::Names::identity`] and [`crate::unsigned`].
    pub host_object: Option<&'a HostObject>,
    /// Whether the host has placed a pod for the virtual object, though the object itself may not show it.
    pub was_placed: bool,
    /// Whether the virtual object is a pod on a node that is none of ours: a kubelet of the tenant runs it, or nobody does.
    pub is_elsewhere: bool,
    /// Whether something on the host uses the object.
    pub used: bool,
}

/// What is to be written, in order, and why nothing more is, where something holds the pair back.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// The writes, in order. A write that fails ends the plan.
    pub steps: Vec<Step>,
    /// Why the host has no object, or an old one.
    pub hold: Option<Hold>,
    /// What the virtual object is to become, where it is patched: if its server refuses a field, this is what is relaxed.
    pub flows_back: Option<Box<VirtualObject>>,
    /// What the host object is to become: if the host refuses a patch, this is what is relaxed.
    pub desired: Option<HostObject>,
}

/// One write to one server.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Create a host object.
    CreateHost(Box<HostObject>),
    /// Patch a host object, if it still has this UID.
    PatchHost {
        /// Its name.
        name: HostName,
        /// Its UID.
        uid: String,
        /// The patch.
        change: Change,
    },
    /// Delete a host object, if it still has this UID.
    DeleteHost {
        /// Its name.
        name: HostName,
        /// Its UID.
        uid: String,
        /// Seconds of grace; the kind's default when none are given.
        grace: Option<i64>,
    },
    /// Bind the virtual pod to the node where it runs (`pods/binding`), if it still has this UID.
    Bind {
        /// The pod.
        name: VirtualName,
        /// Its UID.
        uid: String,
        /// The node's name.
        node: String,
    },
    /// Patch a virtual object, if it still has this UID.
    PatchVirtual {
        /// Its name.
        name: VirtualName,
        /// Its UID.
        uid: String,
        /// The patch.
        change: Change,
    },
    /// Delete a virtual object, if it still has this UID.
    DeleteVirtual {
        /// Its name.
        name: VirtualName,
        /// Its UID.
        uid: String,
        /// Seconds of grace.
        grace: i64,
    },
}

impl Step {
    /// What the step does, in two words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateHost(_) => "create host",
            Self::PatchHost { .. } => "patch host",
            Self::DeleteHost { .. } => "delete host",
            Self::Bind { .. } => "bind virtual",
            Self::PatchVirtual { .. } => "patch virtual",
            Self::DeleteVirtual { .. } => "delete virtual",
        }
    }
}

/// What to do with one pair.
pub fn plan(ctx: &Ctx<'_>, mapper: &dyn Mapper, seen: Seen<'_>) -> Plan {
    let mut plan = Plan::default();
    match (seen.virtual_object, seen.host_object) {
        (None, None) => {}
        (None, Some(host)) => plan.delete_host(host, None),
        (Some(source), None) => plan.without_host(ctx, mapper, seen, source),
        (Some(source), Some(host)) => plan.with_both(ctx, mapper, seen, source, host),
    }
    plan
}

impl Plan {
    fn without_host(&mut self, ctx: &Ctx<'_>, mapper: &dyn Mapper, seen: Seen<'_>, source: &VirtualObject) {
        if seen.is_elsewhere {
            return;
        }
        if mapper.spec().policy.life == Life::Process
            && (source.is_terminating() || seen.was_placed || has_run(source))
        {
            // What ran cannot run again, and what is being deleted has nothing left to wait for.
            return self.delete_virtual(source, 0);
        }
        if source.is_terminating() || !wanted(mapper, seen) || has_ended(mapper, source) {
            return;
        }
        match mapper.patcher().before_create(source).and_then(|()| translate::to_host(ctx, mapper, source)) {
            Ok(desired) => self.steps.push(Step::CreateHost(Box::new(mapper.patcher().creatable(desired)))),
            Err(hold) => {
                self.hold = Some(hold);
                self.push_conditions(ctx, mapper, source);
            }
        }
    }

    /// Writes the conditions that were noted where nothing else flows back.
    fn push_conditions(&mut self, ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject) {
        if !mapper.spec().has_conditions {
            return;
        }
        let mut desired = source.clone();
        conditions::merge(ctx, &mut desired, source);
        self.push_virtual_changes(mapper, source, desired);
    }

    fn with_both(
        &mut self,
        ctx: &Ctx<'_>,
        mapper: &dyn Mapper,
        seen: Seen<'_>,
        source: &VirtualObject,
        host: &HostObject,
    ) {
        match Identity::of(host) {
            Some(identity) if identity.uid == source.uid() => {}
            // The virtual object was deleted and recreated under its name: the host object is of the old one.
            Some(_) => return self.delete_host(host, None),
            // Somebody has removed the identity; the patch of the metadata gives it back. What goes takes all with it.
            None if source.is_terminating() || is_host_object_of(ctx, mapper, source, host) => {}
            None => return self.hold = Some(unproven(host)),
        }
        match mapper.spec().policy.life {
            Life::Process => self.process(ctx, mapper, source, host),
            Life::Data if !wanted(mapper, seen) => self.delete_host(host, None),
            Life::Data => self.sync(ctx, mapper, source, host),
        }
    }

    fn process(&mut self, ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject, host: &HostObject) {
        match (source.is_terminating(), host.is_terminating()) {
            (false, false) => self.sync(ctx, mapper, source, host),
            (true, false) => {
                self.write_back(ctx, mapper, source, host);
                self.delete_host(host, grace(ctx, source));
            }
            (false, true) => {
                self.write_back(ctx, mapper, source, host);
                self.delete_virtual(source, host.deletion_grace_seconds().unwrap_or(0));
            }
            (true, true) => {
                self.write_back(ctx, mapper, source, host);
                let (wanted, running) = (grace(ctx, source), host.deletion_grace_seconds());
                if wanted.zip(running).is_some_and(|(wanted, running)| wanted < running) {
                    self.push_host_deletion(host, wanted);
                }
            }
        }
    }

    /// Both live: spec and data go to the host, status comes back.
    fn sync(&mut self, ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject, host: &HostObject) {
        let is_process = mapper.spec().policy.life == Life::Process;
        let translated = translate::to_host(ctx, mapper, source);
        if is_process {
            // The status goes first: a change that the host refuses, such as a resize, must not hold it back.
            self.write_back(ctx, mapper, source, host);
        }
        let mut changes_host = false;
        match translated {
            Ok(desired) if mapper.patcher().must_recreate(&desired, host) => {
                return self.delete_host(host, None);
            }
            Ok(desired) => {
                changes_host = self.patch_host(ctx, mapper, &desired, host);
                self.desired = Some(desired);
            }
            Err(Hold::Absent(_)) => return self.delete_host(host, None),
            Err(hold) => self.hold = Some(hold),
        }
        if !matches!(self.hold, Some(Hold::Skip(_))) {
            self.push_host_changes(host, mapper.patcher().status_changes(source, host));
        }
        // What the host shows follows from the last write. Where this plan writes something else, taking it
        // back would undo the tenant's change; the host's next event requeues the pair.
        if !is_process && !changes_host {
            self.write_back(ctx, mapper, source, host);
        }
    }

    /// Patches the host object; whether anything but its metadata changes.
    fn patch_host(
        &mut self,
        ctx: &Ctx<'_>,
        mapper: &dyn Mapper,
        desired: &HostObject,
        host: &HostObject,
    ) -> bool {
        let changes = mapper.patcher().host_changes(desired, host);
        let changes_host = !changes.is_empty();
        self.push_host_changes(host, with_metadata(changes, ctx.facts.owner.as_ref(), desired, host));
        changes_host
    }

    fn push_host_changes(&mut self, host: &HostObject, changes: Vec<Change>) {
        for change in changes {
            self.steps.push(Step::PatchHost { name: HostName::of(host), uid: host.uid().to_owned(), change });
        }
    }

    fn write_back(&mut self, ctx: &Ctx<'_>, mapper: &dyn Mapper, source: &VirtualObject, host: &HostObject) {
        let mut desired = translate::to_virtual(ctx, mapper, host, source);
        let (name, uid) = (source.virtual_name(), source.uid().to_owned());
        if mapper.spec().policy.life == Life::Process {
            match (node(source), node(&desired)) {
                ("", "") => {}
                ("", assigned) => {
                    self.steps.push(Step::Bind {
                        name: name.clone(),
                        uid: uid.clone(),
                        node: assigned.to_owned(),
                    });
                    if !has_started(host) {
                        // The binding is enough: the virtual server sets the condition `PodScheduled` itself.
                        return;
                    }
                }
                (bound, assigned) if bound != assigned => return self.delete_virtual(source, 0),
                _ => {}
            }
            // A binding is the only way to set it.
            if let Some(value) = source.pointer("/spec/nodeName").cloned() {
                desired.spec_mut().insert("nodeName".into(), value);
            } else {
                desired.spec_mut().remove("nodeName");
            }
        }
        self.push_virtual_changes(mapper, source, desired);
    }

    fn push_virtual_changes(&mut self, mapper: &dyn Mapper, source: &VirtualObject, desired: VirtualObject) {
        let changes = virtual_patches(mapper, &desired, source);
        if changes.is_empty() {
            return;
        }
        self.flows_back = Some(Box::new(desired));
        for change in changes {
            let (name, uid) = (source.virtual_name(), source.uid().to_owned());
            self.steps.push(Step::PatchVirtual { name, uid, change });
        }
    }

    fn delete_host(&mut self, host: &HostObject, grace: Option<i64>) {
        if !host.is_terminating() {
            self.push_host_deletion(host, grace);
        }
    }

    fn push_host_deletion(&mut self, host: &HostObject, grace: Option<i64>) {
        self.steps.push(Step::DeleteHost { name: HostName::of(host), uid: host.uid().to_owned(), grace });
    }

    fn delete_virtual(&mut self, source: &VirtualObject, grace: i64) {
        // Deleted with this grace already: finalizers of others hold it, and a second deletion changes nothing.
        if source.is_terminating() && source.deletion_grace_seconds().is_some_and(|given| given <= grace) {
            return;
        }
        self.steps.push(Step::DeleteVirtual {
            name: source.virtual_name(),
            uid: source.uid().to_owned(),
            grace,
        });
    }
}

/// The patches, in order, that bring `host` to `desired`, whoever owned it before.
pub fn host_patches(mapper: &dyn Mapper, desired: &HostObject, host: &HostObject) -> Vec<Change> {
    with_metadata(mapper.patcher().host_changes(desired, host), None, desired, host)
}

/// The patches, in order, that bring the virtual object `current` to `desired`.
pub fn virtual_patches(mapper: &dyn Mapper, desired: &VirtualObject, current: &VirtualObject) -> Vec<Change> {
    let mut changes = mapper.patcher().virtual_changes(desired, current);
    conditions::guard(current, desired, &mut changes);
    changes
}

fn wanted(mapper: &dyn Mapper, seen: Seen<'_>) -> bool {
    mapper.spec().policy.selection == Selection::All || seen.used
}

/// Whether what runs once has run: somebody else than the host has written so.
fn has_ended(mapper: &dyn Mapper, source: &VirtualObject) -> bool {
    mapper.spec().policy.life == Life::Process
        && matches!(source.text("/status/phase"), Some("Succeeded" | "Failed"))
}

/// Whether a virtual pod shows that it was placed: from then on its containers may have run. Its node alone does not, for the
/// tenant may ask for one; with a binding, the API server sets the condition `PodScheduled`.
pub fn has_run(source: &VirtualObject) -> bool {
    let scheduled = |condition: &Value| {
        condition.get("type").and_then(Value::as_str) == Some("PodScheduled")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    };
    source.text("/status/startTime").is_some()
        || source
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(scheduled))
}

/// The time that the tenant gives the object to end, but no more than the operator does.
fn grace(ctx: &Ctx<'_>, source: &VirtualObject) -> Option<i64> {
    let limit = ctx.facts.policy.pods.max_termination_grace_period_seconds;
    source.deletion_grace_seconds().map(|seconds| seconds.min(limit))
}

/// Whether a kubelet has taken up the host pod.
fn has_started(host: &HostObject) -> bool {
    host.text("/status/startTime").is_some()
}

fn node(object: &VirtualObject) -> &str {
    object.text("/spec/nodeName").unwrap_or_default()
}
