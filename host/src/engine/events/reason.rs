//! The reasons of the events that the engine itself writes on tenants' objects, as `kubectl describe` shows them.
//!
//! Plugins and mappers have reasons of their own: see [`weft_core::verdict::Problem`].

/// Shows up in `kubectl describe` as Reason, next to Type. Stable: people and scripts look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `Warning  HostRefused`: the host's API server, or an admission webhook there, refuses what the object would be
    /// on the host, so the host object is missing or old. The message is the host's answer: change the field that it
    /// names, or ask the operator about quota, policies and the syncer's permissions.
    HostRefused,
    /// `Warning  StatusRefused`: the virtual API server refuses what flows back from the host, so the object's status, or the
    /// fields that the message names, are old; the other fields are written. The message is its answer. Of a Service, its
    /// addresses or ports differ from the host's, where nobody reaches it: the ranges of both API servers must agree
    /// (`--service-cluster-ip-range`, `--service-node-port-range`), and what the host gave must be free in the virtual cluster. Else
    /// look for an admission webhook or a permission in the virtual cluster that blocks the syncer.
    VirtualRefused,
    /// `Warning  HostNameTaken`: an object that does not belong to this virtual object has its name on the host, or one
    /// that has lost the annotation which says whose it is, and is left alone. Rename the object, or ask the operator
    /// to remove the other one.
    NameTaken,
    /// `Warning  HostFailing`: what is written to the host for this object has failed for more than a minute, without a refusal: the
    /// host's API server, or an admission webhook there, does not do its work. The message is its last answer.
    HostFailing,
    /// `Warning  StatusFailing`: the same in the virtual cluster: what flows back from the host cannot be written. Look for an
    /// admission webhook there that gives no answer.
    VirtualFailing,
    /// `Warning  HostObjectContested`: another client changes the host object of this object again and again, and the syncer
    /// changes it back, at most twelve times a minute. The message names its field manager: have it leave the object alone.
    HostContested,
    /// `Warning  StatusContested`: another client in the virtual cluster changes what flows back from the host again and again.
    /// The message names its field manager: have it leave the object alone.
    VirtualContested,
    /// `Warning  MapperPanicked`: the mapper of the kind, or the syncer itself, has a bug and did not finish its work on the object.
    /// Report it with the syncer's log and the object.
    Panicked,
    /// `Warning  ObjectUnreadable`: this version of the object cannot be read, because it is nested more than 127 levels deep or is no
    /// valid object, so it is not synced; its host object stays as it is. Make the object flatter.
    Unreadable,
    /// `Warning  KindNotSynced`: the host does not serve the kind as it is mapped, so nothing of it is synced. The message says
    /// whether its definition, its version, its plural or a permission is missing: ask the operator.
    KindNotSynced,
    /// `Normal  DefinitionRespected`: this `CustomResourceDefinition` was not installed by weft, so it is not changed
    /// and may differ from the host's. Delete it to get the host's instead.
    DefinitionRespected,
    /// `Warning  DefinitionNotUpdated`: the host's `CustomResourceDefinition` cannot replace this one without losing a
    /// version that is served or stored here, or does not serve the version that is synced. Migrate the objects of the
    /// version that the message names, and remove it here.
    DefinitionKept,
    /// `Warning  NodeSpecRestored`: this node stands for one of the host, which schedules its pods and knows nothing of its taints
    /// and of `kubectl cordon`, so the syncer has removed them, or brought back those of the host's node where it is mirrored. Use node affinity, or have the operator taint or cordon the host's node.
    NodeRestored,
}

impl Reason {
    /// Every reason there is.
    #[cfg(test)]
    pub(crate) const ALL: &[Self] = &[
        Self::HostRefused,
        Self::VirtualRefused,
        Self::NameTaken,
        Self::HostFailing,
        Self::VirtualFailing,
        Self::HostContested,
        Self::VirtualContested,
        Self::Panicked,
        Self::Unreadable,
        Self::KindNotSynced,
        Self::DefinitionRespected,
        Self::DefinitionKept,
        Self::NodeRestored,
    ];

    /// What `kubectl describe` shows.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::HostRefused => "HostRefused",
            Self::VirtualRefused => "StatusRefused",
            Self::NameTaken => "HostNameTaken",
            Self::HostFailing => "HostFailing",
            Self::VirtualFailing => "StatusFailing",
            Self::HostContested => "HostObjectContested",
            Self::VirtualContested => "StatusContested",
            Self::Panicked => "MapperPanicked",
            Self::Unreadable => "ObjectUnreadable",
            Self::KindNotSynced => "KindNotSynced",
            Self::DefinitionRespected => "DefinitionRespected",
            Self::DefinitionKept => "DefinitionNotUpdated",
            Self::NodeRestored => "NodeSpecRestored",
        }
    }

    /// Whether events with this reason have the type `Warning`; those of others are `Normal`.
    pub(crate) fn is_warning(self) -> bool {
        self != Self::DefinitionRespected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_and_documented_with_its_type_as_kubectl_shows_it() {
        let text = include_str!("reason.rs");
        for reason in Reason::ALL {
            let kind = if reason.is_warning() { "Warning" } else { "Normal" };
            let line = format!("/// `{kind}  {}`: ", reason.as_str());
            assert!(text.contains(&line), "{reason:?} has no doc that begins with {line}");
        }
        let documented = text.lines().filter(|line| line.trim_start().starts_with("/// `")).count();
        assert_eq!(Reason::ALL.len(), documented, "ALL lists as many as are documented");
    }
}
