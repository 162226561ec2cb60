//! The kinds that the model serves, one line each.

use super::rules::{self, Rules};
use super::{claims, configs, namespaces, pods, services};

/// A kind that is served.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing about a kind, and any may be with any"
)]
pub(super) struct Kind {
    /// Empty for the core group.
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    /// What its objects have in `kind`.
    pub(super) name: &'static str,
    pub(super) plural: &'static str,
    pub(super) is_namespaced: bool,
    pub(super) subresources: &'static [&'static str],
    /// Whether `metadata.generation` counts the changes of what is wanted.
    pub(super) has_generation: bool,
    /// Whether a deletion is answered with the object as it last was, and not with a `Status`.
    pub(super) returns_deleted: bool,
    /// Whether it is defined by a `CustomResourceDefinition`.
    pub(super) is_custom: bool,
    /// What it has beside what all have.
    pub(super) rules: &'static Rules,
}

const CORE: Kind = Kind {
    group: "",
    version: "v1",
    name: "",
    plural: "",
    is_namespaced: true,
    subresources: &[],
    has_generation: false,
    returns_deleted: false,
    is_custom: false,
    rules: &rules::NONE,
};

/// All of them.
pub(super) static KINDS: &[Kind] = &[
    Kind { name: "ConfigMap", plural: "configmaps", rules: &configs::CONFIG_MAPS, ..CORE },
    Kind { name: "Secret", plural: "secrets", rules: &configs::SECRETS, ..CORE },
    Kind {
        name: "Service",
        plural: "services",
        subresources: &["status"],
        returns_deleted: true,
        rules: &services::RULES,
        ..CORE
    },
    Kind {
        name: "Pod",
        plural: "pods",
        subresources: &["status", "binding", "ephemeralcontainers"],
        has_generation: true,
        returns_deleted: true,
        rules: &pods::RULES,
        ..CORE
    },
    Kind {
        name: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        subresources: &["status"],
        returns_deleted: true,
        rules: &claims::RULES,
        ..CORE
    },
    Kind { name: "Endpoints", plural: "endpoints", ..CORE },
    Kind { name: "Event", plural: "events", ..CORE },
    Kind {
        name: "ServiceAccount",
        plural: "serviceaccounts",
        subresources: &["token"],
        returns_deleted: true,
        ..CORE
    },
    Kind {
        name: "Namespace",
        plural: "namespaces",
        is_namespaced: false,
        subresources: &["status"],
        returns_deleted: true,
        rules: &namespaces::RULES,
        ..CORE
    },
    Kind { name: "Node", plural: "nodes", is_namespaced: false, subresources: &["status"], ..CORE },
    Kind {
        name: "PersistentVolume",
        plural: "persistentvolumes",
        is_namespaced: false,
        subresources: &["status"],
        returns_deleted: true,
        ..CORE
    },
    Kind {
        group: "discovery.k8s.io",
        name: "EndpointSlice",
        plural: "endpointslices",
        has_generation: true,
        ..CORE
    },
    Kind {
        group: "model.weft.test",
        name: "Widget",
        plural: "widgets",
        subresources: &["status"],
        has_generation: true,
        is_custom: true,
        ..CORE
    },
];

impl Kind {
    /// The kind whose objects are at `group/version/plural`.
    pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
    }

    /// A kind of the core group, by its plural.
    pub(super) fn core(plural: &str) -> Option<&'static Self> {
        Self::find("", "v1", plural)
    }

    /// `apiVersion` of its objects.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether its status is written by a request of its own.
    pub(super) fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }

    /// What messages call it: `widgets.model.weft.test`.
    pub(super) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}
