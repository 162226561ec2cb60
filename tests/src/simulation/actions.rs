//! What tenants do in the virtual cluster, and admins on the host: few names, so that they meet.

use http::Method;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use weft_core::object::VirtualName;

use super::network::Side;
use super::world::{NAMESPACE, SPACES, World};

const NAMES: [&str; 2] = ["one", "two"];

/// An object of the virtual cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
}

/// The kinds that tenants use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are Kubernetes'")]
pub enum Kind {
    Pod,
    Service,
    ConfigMap,
    Secret,
    Claim,
}

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The tenant creates an object; the number tells one version of it from another.
    Create(Place, u8),
    /// The tenant changes it.
    Edit(Place, u8),
    /// The tenant deletes it.
    Delete(Place),
    /// The tenant deletes a pod without grace.
    Force(Place),
    /// A host admin changes its host object.
    EditOnHost(Place, u8),
    /// A host admin deletes its host object.
    DeleteOnHost(Place),
    /// Somebody on the host takes the name that its host object would have.
    TakeName(Place),
    /// And gives it back.
    GiveNameBack(Place),
    /// The host pod ends.
    End(Place),
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Service => "services",
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::Claim => "persistentvolumeclaims",
        }
    }
}

impl Place {
    fn draw(chance: &mut StdRng) -> Self {
        let kind = match chance.random_range(0..10) {
            0..4 => Kind::Pod,
            4..6 => Kind::Service,
            6..8 => Kind::ConfigMap,
            8 => Kind::Secret,
            _ => Kind::Claim,
        };
        let one = |of: [&'static str; 2], is_first: bool| if is_first { of[0] } else { of[1] };
        Self { namespace: one(SPACES, chance.random()), name: one(NAMES, chance.random()), kind }
    }

    fn all(self) -> String {
        format!("/api/v1/namespaces/{}/{}", self.namespace, self.kind.plural())
    }

    fn all_on_host(self) -> String {
        format!("/api/v1/namespaces/{NAMESPACE}/{}", self.kind.plural())
    }

    fn path(self) -> String {
        format!("{}/{}", self.all(), self.name)
    }

    fn of_pod(self) -> Self {
        Self { kind: Kind::Pod, ..self }
    }
}

impl Action {
    /// Any of them.
    pub fn draw(chance: &mut StdRng) -> Self {
        let (place, version) = (Place::draw(chance), chance.random_range(0..4));
        match chance.random_range(0..100) {
            0..45 => Self::Create(place, version),
            45..60 => Self::Edit(place, version),
            60..78 => Self::Delete(place),
            78..81 => Self::Force(place.of_pod()),
            81..86 => Self::EditOnHost(place, version),
            86..91 => Self::DeleteOnHost(place),
            91..93 => Self::TakeName(place),
            93..96 => Self::GiveNameBack(place),
            _ => Self::End(place.of_pod()),
        }
    }
}

impl World {
    /// Does it; what is refused is not done.
    pub fn act(&self, action: Action) {
        match action {
            Action::Create(place, version) => {
                self.create(Side::Virtual, &place.all(), &object(place, version));
            }
            Action::Edit(place, version) => {
                self.patch(Side::Virtual, &place.path(), &edit(place.kind, version));
            }
            Action::Delete(place) => {
                self.delete(Side::Virtual, &place.path(), &Value::Null);
            }
            Action::Force(place) => {
                self.delete(Side::Virtual, &place.path(), &json!({"gracePeriodSeconds": 0}));
            }
            Action::EditOnHost(place, version) => {
                self.patch(Side::Host, &self.on_host(place), &edit(place.kind, version));
            }
            Action::DeleteOnHost(place) => {
                self.delete(Side::Host, &self.on_host(place), &Value::Null);
            }
            Action::TakeName(place) => self.take_name(place),
            Action::GiveNameBack(place) => self.give_name_back(place),
            Action::End(place) => self.end_pod(place),
        }
    }

    fn on_host(&self, place: Place) -> String {
        format!("{}/{}", place.all_on_host(), self.host_name(place))
    }

    fn host_name(&self, place: Place) -> String {
        self.names.host_name(&VirtualName::new(place.namespace, place.name)).as_str().to_owned()
    }

    fn take_name(&self, place: Place) {
        let metadata = json!({"metadata": {"name": self.host_name(place), "labels": {"foreign": "true"}}});
        // The first version mounts nothing of the tenant's.
        let mut taken = object(place, 0);
        json_patch::merge(&mut taken, &metadata);
        self.create(Side::Host, &place.all_on_host(), &taken);
    }

    fn give_name_back(&self, place: Place) {
        let path = self.on_host(place);
        let (_, found) = self.host.ask(Method::GET, &path, "", &Value::Null);
        if found.pointer("/metadata/labels/foreign").is_some() {
            self.delete(Side::Host, &path, &Value::Null);
        }
    }

    fn end_pod(&self, place: Place) {
        let path = self.on_host(place);
        let (code, pod) = self.host.ask(Method::GET, &path, "", &Value::Null);
        if code == 200 && pod.pointer("/status/phase").is_some_and(|phase| phase == "Running") {
            self.patch(Side::Host, &format!("{path}/status"), &json!({"status": {"phase": "Succeeded"}}));
        }
    }
}

/// One version of an object.
fn object(place: Place, version: u8) -> Value {
    let text = version.to_string();
    let metadata = json!({"name": place.name, "labels": {"version": text}});
    match place.kind {
        Kind::Pod => json!({"metadata": metadata, "spec": {
            "containers": [{"name": "main", "image": format!("nginx:{version}")}],
            "volumes": volumes(version),
        }}),
        Kind::Service => json!({"metadata": metadata, "spec": service(version)}),
        Kind::ConfigMap => json!({"metadata": metadata, "data": {"version": text}}),
        Kind::Secret => json!({"metadata": metadata, "stringData": {"version": text}}),
        Kind::Claim => json!({"metadata": metadata, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }}),
    }
}

fn volumes(version: u8) -> Value {
    match version {
        0 => json!([]),
        1 => {
            json!([{"name": "a", "configMap": {"name": "one"}}, {"name": "b", "secret": {"secretName": "one"}}])
        }
        2 => json!([{"name": "a", "persistentVolumeClaim": {"claimName": "one"}}]),
        _ => json!([{"name": "a", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
            {"configMap": {"name": "two"}},
        ]}}]),
    }
}

fn service(version: u8) -> Value {
    let ports = json!([{"name": "http", "port": 80}]);
    match version {
        0 => json!({"ports": ports, "selector": {"version": "0"}}),
        1 => json!({"ports": ports, "clusterIP": "None", "selector": {"version": "1"}}),
        2 => json!({"ports": ports, "type": "NodePort", "selector": {"version": "0"}}),
        _ => json!({"type": "ExternalName", "externalName": "weft.test"}),
    }
}

fn edit(kind: Kind, version: u8) -> Value {
    let text = version.to_string();
    match kind {
        Kind::Pod if version == 0 => json!({"spec": {"activeDeadlineSeconds": 3600}}),
        Kind::ConfigMap => json!({"data": {"version": text}}),
        Kind::Secret => json!({"stringData": {"version": text}}),
        Kind::Service if version == 0 => json!({"spec": {"selector": {"version": "3"}}}),
        _ => json!({"metadata": {"labels": {"version": text}}}),
    }
}
