//! Everything a rule may read beside the object itself.
//!
//! The engine fills these in before it calls a rule; a rule never asks a server, a clock or a file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::names::Names;
use crate::object::{Key, VirtualObject};

/// What a rule may read: names, facts of both clusters, and the tenant's other objects.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// How names are made.
    pub names: &'a Names,
    /// What is true of both clusters.
    pub facts: &'a Facts,
    /// What the caches show of the tenant's other objects.
    pub lookup: &'a dyn Lookup,
}

/// Reads from the caches of the virtual cluster; never waits, never asks a server.
pub trait Lookup {
    /// The virtual object of this key, if the cache has it.
    fn object(&self, key: &Key) -> Option<Arc<VirtualObject>>;
    /// The labels of a virtual Namespace; empty when it has none or is unknown.
    fn namespace_labels(&self, namespace: &str) -> Arc<BTreeMap<String, String>>;
    /// The Services of a virtual namespace that have a cluster IP, sorted by name.
    fn services(&self, namespace: &str) -> Arc<[ServiceFact]>;
}

/// What is true of both clusters and changes rarely.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Owner of every host object: uninstalling the virtual cluster leaves nothing behind.
    pub owner: Option<Owner>,
    /// The virtual API server's addresses, as the host's pods reach it; the first is preferred.
    pub kubernetes: Vec<IpAddr>,
    /// The virtual cluster's DNS addresses; the first is preferred.
    pub dns: Vec<IpAddr>,
    /// DNS domain of the virtual cluster, usually `cluster.local`.
    pub cluster_domain: String,
    /// The host's ServiceAccount that pods run as. It has no rights.
    pub workload_service_account: String,
    /// The host's Kubernetes version.
    pub host_version: Version,
    /// The virtual cluster's Kubernetes version.
    pub virtual_version: Version,
}

/// A Kubernetes version, compared by major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    /// Major part.
    pub major: u32,
    /// Minor part.
    pub minor: u32,
}

/// The host object that owns all others: the virtual cluster's own Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Name of the Service.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Owner {
    /// The owner reference as objects carry it. Not a controller reference: host tools would look
    /// for a scale subresource on it.
    pub fn reference(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "name": self.name, "uid": self.uid})
    }
}

/// What pods of the same namespace learn of a Service through their environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFact {
    /// Name of the Service.
    pub name: String,
    /// Its preferred cluster IP.
    pub cluster_ip: IpAddr,
    /// Its ports in order.
    pub ports: Vec<PortFact>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFact {
    /// The port's name, if it has one.
    pub name: Option<String>,
    /// Number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}
