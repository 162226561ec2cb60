//! Whether both clusters are in step, once nothing goes wrong any more.

use std::sync::Arc;

use serde_json::Value;
use weft_core::object::VirtualName;

use super::invariants::{identity, text};
use super::network::Side;
use super::world::{NAMESPACE, SPACES, World};

/// The kinds that are compared.
pub(super) const KINDS: [&str; 5] = ["pods", "services", "configmaps", "secrets", "persistentvolumeclaims"];

impl World {
    /// Everything that is not in step, as sentences.
    pub fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        for plural in KINDS {
            for source in self.r#virtual.objects("", plural) {
                if SPACES.contains(&text(&source, "/metadata/namespace")) {
                    found.extend(
                        self.pair(plural, &source).map(|why| format!("{}: {why}", name(plural, &source))),
                    );
                }
            }
            for host in self.host.objects("", plural) {
                found.extend(
                    self.orphan(plural, &host).map(|why| format!("host {}: {why}", name(plural, &host))),
                );
            }
        }
        found
    }

    /// The objects of both sides, one a line.
    pub(super) fn objects(&self) -> Vec<String> {
        let of = |side: Side| {
            let objects = KINDS.iter().flat_map(move |plural| {
                let objects = self.server(side).objects("", plural).into_iter();
                objects.map(move |object| format!("{side:?} {}: {object}", name(plural, &object)))
            });
            objects.collect::<Vec<_>>()
        };
        [of(Side::Virtual), of(Side::Host)].concat()
    }

    /// Whether a name or an address that the syncer may need is taken: nothing that it does can change that.
    pub(super) fn is_obstructed(&self) -> bool {
        self.has_taken_names() || self.has_taken_addresses()
    }

    /// Whether somebody on the host has a name that the syncer may need.
    fn has_taken_names(&self) -> bool {
        KINDS.iter().any(|plural| self.host.objects("", plural).iter().any(|object| is_foreign(object)))
    }

    /// Whether a host Service has an address that another virtual one than its own holds.
    fn has_taken_addresses(&self) -> bool {
        self.host.objects("", "services").iter().any(|host| {
            identity(host)
                .is_some_and(|identity| self.holds_address(text(host, "/spec/clusterIP"), &identity.uid))
        })
    }

    /// What is wrong with the pair of a virtual object.
    fn pair(&self, plural: &str, source: &Value) -> Option<String> {
        let (namespace, own) = (text(source, "/metadata/namespace"), text(source, "/metadata/name"));
        let host_name = self.names.host_name(&VirtualName::new(namespace, own));
        let host = self.host.object("", plural, NAMESPACE, host_name.as_str());
        let is_ours = |host: &Value| {
            identity(host).is_some_and(|identity| identity.uid == text(source, "/metadata/uid"))
        };
        if host.as_ref().is_some_and(|host| is_foreign(host)) {
            // Somebody else has the name: that is said, and nothing can be done.
            return None;
        }
        let is_claim = plural == "persistentvolumeclaims";
        if source.pointer("/metadata/deletionTimestamp").is_some() {
            let is_held = is_claim && source.pointer("/metadata/finalizers").is_some();
            return (!is_held).then(|| "it is still being deleted".to_owned());
        }
        let has_ended = plural == "pods" && matches!(text(source, "/status/phase"), "Succeeded" | "Failed");
        let Some(host) = host.filter(|host| is_ours(host)) else {
            let is_needed = match plural {
                "configmaps" | "secrets" => self.is_used(plural, namespace, own),
                // Its data is lost, which nothing brings back.
                "persistentvolumeclaims" => text(source, "/spec/volumeName").is_empty(),
                // Where a Service has no host object, that of DNS may wait for the address that it holds, and pods for that.
                _ if self.is_obstructed() => false,
                _ => !has_ended,
            };
            return is_needed.then(|| "it has no host object".to_owned());
        };
        let same = |pointer: &str| host.pointer(pointer) == source.pointer(pointer);
        let compared: &[&str] = match plural {
            "pods" => &["/status/phase", "/status/podIP", "/spec/nodeName", "/spec/containers/0/image"],
            "services" => &["/spec/clusterIP", "/spec/type", "/spec/externalName"],
            "persistentvolumeclaims" => &["/status/phase"],
            _ => &["/data"],
        };
        if plural == "services"
            && self.holds_address(text(&host, "/spec/clusterIP"), text(source, "/metadata/uid"))
        {
            // The two addresses are apart until the other Service lets go of it: an event says so.
            return None;
        }
        compared.iter().find(|pointer| !same(pointer)).map(|pointer| {
            let (there, here) = (host.pointer(pointer), source.pointer(pointer));
            format!("{pointer} is {here:?}, and {there:?} on the host")
        })
    }

    /// Whether another virtual Service has this address.
    fn holds_address(&self, address: &str, uid: &str) -> bool {
        address.contains('.')
            && self
                .r#virtual
                .objects("", "services")
                .iter()
                .any(|other| text(other, "/spec/clusterIP") == address && text(other, "/metadata/uid") != uid)
    }

    /// Whether a pod of the namespace mounts it and has a host pod.
    fn is_used(&self, plural: &str, namespace: &str, name: &str) -> bool {
        self.r#virtual.objects("", "pods").iter().any(|pod| {
            let host = self.names.host_name(&VirtualName::new(namespace, text(pod, "/metadata/name")));
            let is_there = self.host.object("", "pods", NAMESPACE, host.as_str()).is_some_and(|host| {
                identity(&host).is_some_and(|identity| identity.uid == text(pod, "/metadata/uid"))
            });
            let has_ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
            let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
            let mounts = volumes.into_iter().flatten().any(|volume| match plural {
                "configmaps" => {
                    text(volume, "/configMap/name") == name
                        || text(volume, "/projected/sources/1/configMap/name") == name
                }
                _ => text(volume, "/secret/secretName") == name,
            });
            text(pod, "/metadata/namespace") == namespace && is_there && !has_ended && mounts
        })
    }

    /// What is wrong with a host object that belongs to no virtual one.
    fn orphan(&self, plural: &str, host: &Arc<Value>) -> Option<String> {
        let identity = identity(host)?;
        let source = self.r#virtual.object("", plural, &identity.namespace, &identity.name);
        let is_its = source.is_some_and(|source| text(&source, "/metadata/uid") == identity.uid);
        // A claim that a host pod uses stays until that ends.
        let is_held =
            plural == "persistentvolumeclaims" && host.pointer("/metadata/deletionTimestamp").is_some();
        (!is_its && !is_held)
            .then(|| format!("its virtual object {}/{} is gone", identity.namespace, identity.name))
    }
}

fn is_foreign(host: &Value) -> bool {
    host.pointer("/metadata/labels/foreign").is_some()
}

fn name(plural: &str, object: &Value) -> String {
    format!("{plural} {}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}
