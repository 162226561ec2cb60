//! Everything a mapper may read beside the object itself.
//!
//! The engine fills these in before it calls a mapper; a mapper never asks a server, a clock or a file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::names::Names;
use crate::object::{HostObject, Key, Kind, Object, VirtualObject};
use crate::policy::Policy;
use crate::verdict::{By, Problem};

/// What a mapper may read: names, facts of both clusters, and the tenant's other objects.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// When the decision is made.
    pub now: &'a Moment,
    /// The host object of the pair, if there is one.
    pub host_object: Option<&'a HostObject>,
    /// Where plugins leave events and conditions beside their answer.
    pub notes: &'a Notes,
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
    /// The host object of the pair of this key, if it is there and ours.
    fn host_object(&self, key: &Key) -> Option<Arc<HostObject>>;
    /// The virtual objects of a kind in one namespace, or in all, that have all these labels, sorted by
    /// namespace and name.
    fn find(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &[(String, String)],
    ) -> Vec<Arc<VirtualObject>>;
    /// Whether the cache has every virtual object of this kind.
    fn is_complete(&self, kind: &Kind) -> bool;
    /// The same reads, for a plugin that runs apart from its caller. What is read there is remembered here.
    fn shared(&self) -> Arc<dyn Lookup + Send + Sync>;
}

/// A point in time, the same for a whole decision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moment {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub millis: u64,
    /// The same as an RFC 3339 string, to the second.
    pub text: String,
}

/// Events, conditions and failures that a decision gathers: data until it is made.
#[derive(Debug, Default)]
pub struct Notes {
    events: Mutex<Vec<Event>>,
    conditions: Mutex<BTreeMap<String, Vec<Condition>>>,
    /// Plugins that gave their main answer; false once one of them did not answer.
    answered: Mutex<BTreeMap<String, bool>>,
    failures: Mutex<Vec<Problem>>,
    takes_no_conditions: bool,
}

/// An event on the virtual object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who reports it.
    pub by: By,
    /// `Warning` rather than `Normal`.
    pub is_warning: bool,
    /// Stable, in CamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// An entry of `status.conditions` without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `<plugin>.plugins.weft.dev/<name>`.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Stable, in CamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Notes {
    /// Notes that take no conditions: those of the object stay as they are.
    pub fn without_conditions() -> Self {
        Self { takes_no_conditions: true, ..Self::default() }
    }

    /// Notes an event.
    pub fn event(&self, event: Event) {
        lock(&self.events).push(event);
    }

    /// Notes the conditions of one answer of `plugin`. It may be called in both directions in one
    /// decision: its conditions are those of both answers.
    pub fn conditions(&self, plugin: &str, conditions: Vec<Condition>) {
        if self.takes_no_conditions {
            return;
        }
        let mut noted = lock(&self.conditions);
        let noted = noted.entry(plugin.to_owned()).or_default();
        noted.retain(|old| conditions.iter().all(|new| new.kind != old.kind));
        noted.extend(conditions);
    }

    /// Notes that `plugin` has given its main answer, or (not `answered`) that a call of it failed.
    pub fn answered(&self, plugin: &str, answered: bool) {
        // Conditions that are not taken must not remove those that are there.
        let answered = answered && !self.takes_no_conditions;
        *lock(&self.answered).entry(plugin.to_owned()).or_insert(answered) &= answered;
    }

    /// Whether `plugin` gave its main answer: then it has no other conditions than those noted.
    pub fn has_answered(&self, plugin: &str) -> bool {
        lock(&self.answered).get(plugin).is_some_and(|answered| *answered)
    }

    /// Notes the failure of a plugin that does not hold the object back.
    pub fn failure(&self, problem: Problem) {
        lock(&self.failures).push(problem);
    }

    /// The conditions that were noted, by plugin.
    pub fn noted_conditions(&self) -> BTreeMap<String, Vec<Condition>> {
        lock(&self.conditions).clone()
    }

    /// Whether conditions are taken.
    pub fn takes_conditions(&self) -> bool {
        !self.takes_no_conditions
    }

    /// The events and failures that were noted.
    pub fn into_parts(self) -> (Vec<Event>, Vec<Problem>) {
        (
            self.events.into_inner().unwrap_or_else(PoisonError::into_inner),
            self.failures.into_inner().unwrap_or_else(PoisonError::into_inner),
        )
    }
}

fn lock<T>(notes: &Mutex<T>) -> MutexGuard<'_, T> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the owner says to whoever finds it.
const OWNS: &str = "Owns what this virtual cluster has on the host, but for its volume claims. If it is deleted, the host \
                    deletes all that and the syncer makes it anew.";

/// What is true of both clusters and changes rarely.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Owner of every host object but those that hold data: uninstalling the virtual cluster takes them along.
    pub owner: Option<Owner>,
    /// The virtual API server's addresses, as the host's pods reach it; the first is preferred.
    pub kubernetes: Vec<IpAddr>,
    /// The virtual cluster's DNS addresses; the first is preferred.
    pub dns: Vec<IpAddr>,
    /// DNS domain of the virtual cluster, usually `cluster.local`.
    pub cluster_domain: String,
    /// Search domains of the host's nodes, which follow those of the cluster in its pods.
    pub node_searches: Vec<String>,
    /// The host's ServiceAccount that pods run as. It has no permissions.
    pub workload_service_account: String,
    /// Image of weft that completes the hosts file of pods with a subdomain; without one it is not completed.
    pub hosts_file_image: Option<String>,
    /// The host's Kubernetes version.
    pub host_version: Version,
    /// The virtual cluster's Kubernetes version.
    pub virtual_version: Version,
    /// What the operator allows tenants beyond what every tenant may.
    pub policy: Policy,
}

/// A Kubernetes version, compared by major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    /// Major part.
    pub major: u32,
    /// Minor part.
    pub minor: u32,
}

/// The host object that owns the others: a ConfigMap made for that alone. Services and Deployments are replaced in the
/// course of work, by `kubectl replace --force` for one, and the garbage collector of the host takes what they own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Name of the ConfigMap, which is the virtual cluster's.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Owner {
    /// The object as it is created where there is none.
    pub fn object(cluster: &str, namespace: &str) -> HostObject {
        let fields = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": cluster, "namespace": namespace,
                "labels": {
                    "app.kubernetes.io/name": "weft", "app.kubernetes.io/instance": cluster,
                    "app.kubernetes.io/managed-by": "weft",
                },
            },
            "data": {"about": OWNS},
        });
        HostObject::new(fields.as_object().cloned().unwrap_or_default())
    }

    /// The owner that `object` is.
    pub fn of(object: &HostObject) -> Self {
        Self { name: object.name().to_owned(), uid: object.uid().to_owned() }
    }

    /// The owner reference as objects carry it.
    pub fn reference(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": self.name, "uid": self.uid})
    }

    /// Whether an owner reference is to what was the owner before: another ConfigMap of this name, or the Service that
    /// was it in earlier versions.
    pub fn is_former(&self, reference: &Value) -> bool {
        let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
        text("apiVersion") == "v1"
            && matches!(text("kind"), "ConfigMap" | "Service")
            && text("name") == self.name
            && text("uid") != self.uid
    }

    /// The same as pods carry it: a `ReplicaSet` of the host adopts pods that its selector matches and that have no
    /// controller, and deletes what it has too many of. A disruption budget that has to ask the controller for its
    /// scale allows no eviction either way.
    pub fn controller_reference(&self) -> Value {
        let mut reference = self.reference();
        if let Some(fields) = reference.as_object_mut() {
            fields.insert("controller".to_owned(), true.into());
        }
        reference
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

impl ServiceFact {
    /// What pods learn of `service`; nothing of one without an address.
    pub fn of(service: &VirtualObject) -> Option<Self> {
        let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
        let port = |port: &Value| {
            Some(PortFact {
                name: port.get("name").and_then(Value::as_str).map(ToOwned::to_owned),
                port: u16::try_from(port.get("port")?.as_u64()?).ok()?,
                protocol: port.get("protocol").and_then(Value::as_str).unwrap_or("TCP").to_owned(),
            })
        };
        Some(Self {
            name: service.name().to_owned(),
            cluster_ip: cluster_ips(service).first().copied()?,
            ports: ports.filter_map(port).collect(),
        })
    }
}

/// The addresses of a Service; none for headless ones and those without.
pub fn cluster_ips<S>(service: &Object<S>) -> Vec<IpAddr> {
    let list = service.pointer("/spec/clusterIPs").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|address| address.as_str()?.parse().ok()).collect()
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
