//! What the syncer may never do, whatever goes wrong: each write is judged before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use weft_core::keys::{
    CLUSTER_LABEL, FAKE_NODE_LABEL, FROM_HOST_LABEL, IDENTITY, MIRRORED_LABEL, PLACED, PURPOSE_LABEL,
};
use weft_core::names::Identity;
use weft_core::paths::at;

use super::network::Side;
use super::settled::KINDS;
use super::world::{CLUSTER, NAMESPACE};
use crate::model::Model;

/// Kinds whose host objects stay for as long as their virtual ones.
const PAIRED: &[&str] = &["pods", "services", "persistentvolumeclaims"];

/// A server that has gone back is asked who it is within this time: what is read of it holds for a second, and an answer may be
/// under way for three.
const NOTICED: Duration = Duration::from_secs(5);

/// What tells one state of an object from another.
const DISTINCT: [&str; 6] = [
    "/metadata/namespace",
    "/metadata/name",
    "/metadata/labels",
    "/spec/nodeName",
    "/status/phase",
    "/data/version",
];

/// Looks at every write of the syncer before the server does.
pub struct Watchman {
    host: Model,
    r#virtual: Model,
    /// UIDs of the virtual pods whose host pods have started, as far as a syncer that starts anew can know.
    started: BTreeMap<String, Duration>,
    /// The host pods that there have been: the UID of each, and that of its virtual pod.
    host_pods: BTreeMap<String, String>,
    /// When a server went back last.
    went_back: Option<Duration>,
    violations: Vec<String>,
    /// Digests of the states that writes have met.
    states: BTreeSet<u64>,
}

/// What a write is about.
struct Write<'a> {
    method: &'a Method,
    namespace: &'a str,
    group: &'a str,
    plural: &'a str,
    name: &'a str,
    body: Value,
    sent: Duration,
}

impl Watchman {
    /// One that has seen nothing yet.
    pub fn new(host: &Model, r#virtual: &Model) -> Self {
        let (host, r#virtual) = (host.clone(), r#virtual.clone());
        let (started, host_pods) = (BTreeMap::new(), BTreeMap::new());
        let (went_back, violations, states) = (None, Vec::new(), BTreeSet::new());
        Self { host, r#virtual, started, host_pods, went_back, violations, states }
    }

    /// What was done that may not be, in order.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// The states that writes have met, as digests.
    pub(super) fn states(&self) -> &BTreeSet<u64> {
        &self.states
    }

    /// Judges a write that is about to be done, and was sent at this time.
    pub(super) fn see(&mut self, side: Side, method: &Method, path: &str, body: &[u8], sent: Duration) {
        self.states.insert(digest(&self.host) ^ digest(&self.r#virtual).rotate_left(1));
        self.remember_host_pods();
        let Some(write) = Write::read(method, path, body, sent) else {
            return self.violations.push(format!("{method} {path} is no write of an object"));
        };
        let judged = match side {
            Side::Host => self.on_host(&write),
            Side::Virtual => self.on_virtual(&write),
        };
        if let Err(why) = judged {
            self.violations.push(format!("{method} {path} on {side:?}: {why}"));
        }
    }

    /// Remembers nothing of what was before now, when a server went back.
    pub(super) fn forget(&mut self, now: Duration) {
        self.started.clear();
        self.host_pods.clear();
        self.went_back = Some(now);
        self.look(now);
    }

    /// Whether it was decided before anybody could know that a server has gone back.
    fn is_of_another_past(&self, write: &Write<'_>) -> bool {
        self.went_back.is_some_and(|at| write.sent <= at + NOTICED)
    }

    fn remember_host_pods(&mut self) {
        for pod in self.host.objects("", "pods") {
            if let Some(identity) = identity(&pod) {
                self.host_pods.insert(text(&pod, "/metadata/uid").to_owned(), identity.uid);
            }
        }
    }

    /// Remembers which pods have started: they are bound in the virtual cluster, or the Service says that they should be.
    pub(super) fn look(&mut self, now: Duration) {
        let service = self.host.object("", "services", NAMESPACE, CLUSTER);
        let recorded = service.map(|service| text(&service, &pointer("annotations", PLACED)).to_owned());
        let recorded = recorded.unwrap_or_default();
        for pod in self.r#virtual.objects("", "pods") {
            let uid = text(&pod, "/metadata/uid");
            if !text(&pod, "/spec/nodeName").is_empty() || recorded.contains(uid) {
                self.started.entry(uid.to_owned()).or_insert(now);
            }
        }
    }

    fn on_host(&self, write: &Write<'_>) -> Result<(), String> {
        if write.namespace != NAMESPACE {
            return Err("it is outside the namespace".to_owned());
        }
        if *write.method == Method::POST {
            return self.created_on_host(write);
        }
        let Some(object) = self.host.object(write.group, write.plural, NAMESPACE, write.name) else {
            return Ok(());
        };
        if write.uid().is_empty() {
            return Err("it names no UID".to_owned());
        }
        if write.uid() != text(&object, "/metadata/uid") {
            // The server refuses it.
            return Ok(());
        }
        let is_base = write.name == CLUSTER && matches!(write.plural, "services" | "configmaps");
        let is_ours = text(&object, &pointer("labels", CLUSTER_LABEL)) == CLUSTER;
        if !is_ours && !is_base && write.plural != "events" {
            return Err("the object is not ours".to_owned());
        }
        let is_judged = *write.method == Method::DELETE && !self.is_of_another_past(write);
        if is_judged { self.deleted_on_host(write, &object) } else { Ok(()) }
    }

    fn created_on_host(&self, write: &Write<'_>) -> Result<(), String> {
        let name = text(&write.body, "/metadata/name");
        if write.plural == "events" || (write.plural == "configmaps" && name == CLUSTER) {
            return Ok(());
        }
        if text(&write.body, &pointer("labels", CLUSTER_LABEL)) != CLUSTER {
            return Err("it does not say whose it is".to_owned());
        }
        if self.host.object(write.group, write.plural, NAMESPACE, name).is_some() {
            // The server refuses it.
            return Ok(());
        }
        // What is under way cannot be called back.
        let has_started = |uid: &str| self.started.get(uid).is_some_and(|since| *since <= write.sent);
        let again = identity(&write.body).filter(|identity| has_started(&identity.uid));
        match again.filter(|_| write.plural == "pods") {
            Some(_) => Err("the pod has started before".to_owned()),
            None => Ok(()),
        }
    }

    fn deleted_on_host(&self, write: &Write<'_>, object: &Value) -> Result<(), String> {
        let has_ended = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
        let is_going = object.pointer("/metadata/deletionTimestamp").is_some() || has_ended;
        let Some(identity) = identity(object).filter(|_| PAIRED.contains(&write.plural) && !is_going) else {
            return Ok(());
        };
        let source = self.r#virtual.object(write.group, write.plural, &identity.namespace, &identity.name);
        let is_wanted = source.is_some_and(|source| {
            text(&source, "/metadata/uid") == identity.uid
                && source.pointer("/metadata/deletionTimestamp").is_none()
        });
        if is_wanted { Err("its virtual object is there".to_owned()) } else { Ok(()) }
    }

    fn on_virtual(&self, write: &Write<'_>) -> Result<(), String> {
        if *write.method != Method::DELETE {
            return Ok(());
        }
        let Some(object) = self.r#virtual.object(write.group, write.plural, write.namespace, write.name)
        else {
            return Ok(());
        };
        if write.uid().is_empty() {
            return Err("it names no UID".to_owned());
        }
        let is_label = |label: &str| object.pointer(&pointer("labels", label)).is_some();
        match write.plural {
            _ if write.uid() != text(&object, "/metadata/uid") => Ok(()),
            "nodes" if is_label(FAKE_NODE_LABEL) => Ok(()),
            "persistentvolumes" if is_label(MIRRORED_LABEL) => Ok(()),
            "events" if is_label(FROM_HOST_LABEL) => Ok(()),
            "endpointslices" | "endpoints" => Ok(()),
            "pods" if self.is_of_another_past(write) => Ok(()),
            "pods" => self.pod_deleted(&object),
            _ => Err("it is the tenant's".to_owned()),
        }
    }

    /// A virtual pod may be deleted once a host pod of it is gone or goes, also where another syncer has just made a new one.
    fn pod_deleted(&self, pod: &Value) -> Result<(), String> {
        let is_alive = |pod: &Value| pod.pointer("/metadata/deletionTimestamp").is_none();
        let host_pods = self.host.objects("", "pods").into_iter().filter(|host| is_alive(host));
        let alive: Vec<_> = host_pods.map(|host| text(&host, "/metadata/uid").to_owned()).collect();
        let uid = text(pod, "/metadata/uid");
        let its = self.host_pods.iter().filter(|(_, of)| *of == uid);
        let (alive, ended): (Vec<_>, Vec<_>) = its.partition(|(host, _)| alive.contains(host));
        if !alive.is_empty() && ended.is_empty() && is_alive(pod) {
            Err("its host pod lives".to_owned())
        } else {
            Ok(())
        }
    }
}

impl<'a> Write<'a> {
    fn read(method: &'a Method, path: &'a str, body: &[u8], sent: Duration) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, rest) = match segments.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, rest) = rest.split_first()?;
        let name = rest.first().copied().unwrap_or_default();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).ok()? };
        Some(Self { method, namespace, group, plural, name, body, sent })
    }

    /// The UID that the object must have for the server to do it.
    fn uid(&self) -> &str {
        let place = if *self.method == Method::DELETE { "/preconditions/uid" } else { "/metadata/uid" };
        text(&self.body, place)
    }
}

/// Whether a write is a part of the renewal of a token, which is done by the clock.
pub(super) fn is_renewal(path: &str, body: &[u8]) -> bool {
    let is_of_tokens = || {
        let secret: Value = serde_json::from_slice(body).unwrap_or_default();
        text(&secret, &pointer("labels", PURPOSE_LABEL)) == "token"
    };
    path.ends_with("/token") || path.contains("/secrets/") && is_of_tokens()
}

/// Of what a server has, but for what differs without meaning anything: versions, times and UIDs.
fn digest(server: &Model) -> u64 {
    let mut hasher = DefaultHasher::new();
    for plural in KINDS {
        for object in server.objects("", plural) {
            for place in DISTINCT {
                at(&object, place).map(Value::to_string).hash(&mut hasher);
            }
            at(&object, "/metadata/deletionTimestamp").is_some().hash(&mut hasher);
        }
        plural.hash(&mut hasher);
    }
    hasher.finish()
}

fn pointer(of: &str, key: &str) -> String {
    format!("/metadata/{of}/{}", key.replace('/', "~1"))
}

/// Whose host object it is, if it says so.
pub(super) fn identity(object: &Value) -> Option<Identity> {
    let annotations = object.pointer("/metadata/annotations")?;
    serde_json::from_str(annotations.get(IDENTITY)?.as_str()?).ok()
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}
