//! What the syncer applies in the virtual cluster by itself: the DNS server, and what the operator deploys.
//!
//! Pure: objects from the configuration. `engine/upkeep/addons.rs` applies them.

mod coredns;

use weft_core::digest;
use weft_core::keys::ADDON;
use weft_core::object::{Fields, VirtualObject};

use crate::config::Config;
use crate::config::deploy::Document;

/// One object to apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Addon {
    /// Where it comes from, for people: `document 2 of deploy.manifests`.
    pub origin: String,
    /// The object. The annotation [`ADDON`] is the digest of the rest.
    pub object: VirtualObject,
    /// What becomes of it once it is applied.
    pub upkeep: Upkeep,
}

/// What becomes of an object once it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upkeep {
    /// What a tenant changes or deletes of it is put back.
    Restored,
    /// It is the tenant's from then on.
    AppliedOnce,
    /// It is no longer wanted: deleted where an earlier configuration has applied it.
    Removed,
}

/// Everything that this configuration has applied, in an order in which it can be. `authority` is the certificate that
/// the virtual API server is known by.
pub fn of(config: &Config, authority: Option<&str>) -> Vec<Addon> {
    // The configuration was checked when it was read.
    let mut documents = config.deploy.manifests.documents().unwrap_or_default();
    documents.sort_by_key(|document| rank(&document.object));
    let deployed = documents.into_iter().map(|Document { number, object }| {
        Addon::new(format!("document {number} of `deploy.manifests`"), object, Upkeep::AppliedOnce)
    });
    dns(config, authority).into_iter().chain(deployed).collect()
}

fn dns(config: &Config, authority: Option<&str>) -> Vec<Addon> {
    let objects = coredns::objects(&config.dns, &config.cluster.domain, authority).into_iter();
    let addon = |object, upkeep| Addon::new("CoreDNS".to_owned(), object, upkeep);
    if config.dns.enabled {
        return objects.map(|object| addon(object, Upkeep::Restored)).collect();
    }
    // The Service stays: pods have its address, and the tenant's own servers may be behind it.
    let goes = |object: &Fields| object.get("kind").is_some_and(|kind| kind != "Service");
    objects.rev().filter(goes).map(|object| addon(object, Upkeep::Removed)).collect()
}

impl Addon {
    fn new(origin: String, object: Fields, upkeep: Upkeep) -> Self {
        let mut object = VirtualObject::new(object);
        let digest = digest::of_value(&object.clone().into_json());
        object.annotations_mut().insert(ADDON.to_owned(), digest.into());
        Self { origin, object, upkeep }
    }

    /// Distinguishes it from every other object and from other versions of itself.
    pub(crate) fn digest(&self) -> &str {
        self.object.annotation(ADDON).unwrap_or_default()
    }
}

/// What others need comes first.
fn rank(object: &Fields) -> usize {
    match object.get("kind").and_then(serde_json::Value::as_str) {
        Some("CustomResourceDefinition") => 0,
        Some("Namespace") => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(rest: &Value) -> Config {
        let mut config = json!({"cluster": {"name": "a", "namespace": "b"}, "dns": {"enabled": false}});
        config.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    fn deployed(rest: &Value) -> Vec<Addon> {
        of(&config(rest), None).into_iter().filter(|addon| addon.upkeep == Upkeep::AppliedOnce).collect()
    }

    fn manifest(api_version: &str, kind: &str, name: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})
    }

    #[test]
    fn definitions_and_namespaces_come_first_and_the_rest_keeps_its_order() {
        let manifests = [
            manifest("v1", "ConfigMap", "b"),
            manifest("v1", "Namespace", "n"),
            manifest("v1", "ConfigMap", "a"),
            manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "d"),
        ];
        let addons = deployed(&json!({"deploy": {"manifests": manifests}}));
        let names: Vec<&str> = addons.iter().map(|addon| addon.object.name()).collect();
        assert_eq!(names, ["d", "n", "b", "a"]);
        assert_eq!(addons[0].origin, "document 4 of `deploy.manifests`");
        assert!(addons.iter().all(|addon| addon.upkeep == Upkeep::AppliedOnce));
    }

    #[test]
    fn an_object_carries_the_digest_of_what_it_says() {
        let addon = |value: &str| {
            let mut object = manifest("v1", "ConfigMap", "a");
            object["data"] = json!({"key": value});
            deployed(&json!({"deploy": {"manifests": [object]}})).remove(0)
        };
        let digest = |addon: Addon| addon.object.annotation(ADDON).map(str::to_owned).unwrap();
        assert_eq!(digest(addon("1")), digest(addon("1")));
        assert_ne!(digest(addon("1")), digest(addon("2")));
    }

    #[test]
    fn dns_is_there_unless_it_is_turned_off_which_leaves_its_service() {
        let off = of(&config(&json!({})), None);
        let kinds: Vec<_> = off.iter().map(|addon| addon.object.text("/kind").unwrap()).collect();
        let wanted = ["Deployment", "ConfigMap", "ClusterRoleBinding", "ClusterRole", "ServiceAccount"];
        assert_eq!(kinds, wanted, "first what uses others");
        assert!(off.iter().all(|addon| addon.upkeep == Upkeep::Removed));
        let addons = of(&config(&json!({"dns": {}})), None);
        assert!(addons.iter().any(|addon| addon.object.name() == "kube-dns"));
        assert!(addons.iter().all(|addon| addon.upkeep == Upkeep::Restored));
    }
}
