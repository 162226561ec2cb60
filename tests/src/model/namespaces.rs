//! Namespaces: those that every server has, and how one ends with all that is in it.

use serde_json::{Value, json};
use weft_core::object::child_mut;

use super::call::Call;
use super::kinds::{KINDS, Kind};
use super::object::{default, elements, fields, map, metadata, text};
use super::rules::{NONE, Rules};
use super::server::Server;
use super::storage::Key;

pub(super) const RULES: Rules = Rules {
    create: |namespace, subject| {
        complete(namespace, &subject.name);
        Ok(())
    },
    ..NONE
};

const NAME: &str = "kubernetes.io/metadata.name";
/// The namespaces of a new server.
const FIRST: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

fn complete(namespace: &mut Value, name: &str) {
    child_mut(metadata(namespace), "labels").insert(NAME.into(), name.into());
    default(map(namespace, "spec"), "finalizers", json!(["kubernetes"]));
    fields(namespace).insert("status".into(), json!({"phase": "Active"}));
}

/// Creates the namespaces of a new server.
pub(super) fn create_first(server: &mut Server) {
    let Some(kind) = Kind::core("namespaces") else { return };
    for name in FIRST {
        let mut namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        complete(&mut namespace, name);
        server.stamp(&mut namespace, kind);
        server.storage.put(Key::new(kind, "", name), namespace);
    }
}

impl Server {
    /// Begins the end of a namespace: what is in it is deleted as if by its users, which a controller does on a real server.
    pub(super) fn terminate(&mut self, call: &Call, old: &Value) -> Value {
        if old.pointer("/metadata/deletionTimestamp").is_some() {
            return old.clone();
        }
        let mut namespace = old.clone();
        metadata(&mut namespace).insert("deletionTimestamp".into(), self.clock.timestamp(0).into());
        map(&mut namespace, "status").insert("phase".into(), "Terminating".into());
        let answer = self.store(call, Key::new(call.kind, "", &call.name), namespace);
        if !call.is_dry_run() {
            self.delete_all_in(&call.name);
            self.end_namespace(&call.name);
        }
        answer
    }

    fn delete_all_in(&mut self, namespace: &str) {
        for kind in KINDS.iter().filter(|kind| kind.is_namespaced) {
            let names: Vec<String> = self
                .storage
                .all(kind, namespace)
                .map(|(_, object)| text(object, "/metadata/name").to_owned())
                .collect();
            for name in names {
                // It is there, and nothing is demanded of it: so it cannot be refused.
                let _ = self.delete(&Call::deletion(kind, namespace, &name));
            }
        }
    }

    /// Removes a namespace that is being terminated, once it is empty.
    pub(super) fn end_namespace(&mut self, name: &str) {
        let Some(kind) = Kind::core("namespaces") else { return };
        let key = Key::new(kind, "", name);
        let Some(namespace) = self.storage.get(&key) else { return };
        let is_going = namespace.pointer("/metadata/deletionTimestamp").is_some();
        let is_held = !elements(namespace, "/metadata/finalizers").is_empty();
        if is_going && !is_held && !self.storage.has_objects_in(name) {
            self.storage.remove(&key);
        }
    }
}
