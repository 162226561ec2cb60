//! Names the processes of a plane, and says which of them a host and a virtual cluster have.

/// One process of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The store.
    Store,
    /// The API server.
    ApiServer,
    /// The controllers, among them those of Deployments and Services.
    ControllerManager,
    /// The scheduler; only a host has one.
    Scheduler,
    /// The kubelet of the fake nodes; only a host has one.
    Kwok,
}

impl Component {
    /// Its name, and that of its log; the store has its own program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

/// What a plane is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs pods: has a scheduler and this many fake nodes.
    Host {
        /// How many.
        nodes: usize,
    },
    /// Has no nodes; a syncer runs its pods on a host.
    Virtual,
}

impl Role {
    /// Those that start once the API server answers.
    pub(super) fn followers(self) -> &'static [Component] {
        match self {
            Self::Host { .. } => &[Component::ControllerManager, Component::Scheduler, Component::Kwok],
            Self::Virtual => &[Component::ControllerManager],
        }
    }
}
