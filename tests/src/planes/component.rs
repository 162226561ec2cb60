//! Names the processes of a plane, and says which of them a host and a virtual cluster have.

use std::net::Ipv4Addr;

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
    /// Runs pods in containers: lives in a machine that a kubelet runs in.
    Machine(Site),
    /// Has no nodes; a syncer runs its pods on a host.
    Virtual,
}

/// The machine that a plane lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// The process that has its network namespace.
    pub process: i32,
    /// Its address, by which it is reached from outside too.
    pub address: Ipv4Addr,
}

impl Role {
    /// Where clients reach the API server.
    pub(super) fn address(self) -> Ipv4Addr {
        match self {
            Self::Machine(site) => site.address,
            Self::Host { .. } | Self::Virtual => Ipv4Addr::LOCALHOST,
        }
    }

    /// Those that start once the API server answers.
    pub(super) fn followers(self) -> &'static [Component] {
        match self {
            Self::Host { .. } => &[Component::ControllerManager, Component::Scheduler, Component::Kwok],
            Self::Machine(_) => &[Component::ControllerManager, Component::Scheduler],
            Self::Virtual => &[Component::ControllerManager],
        }
    }
}
