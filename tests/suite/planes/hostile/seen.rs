//! What both servers show of the objects that ask for something, and what it means.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Endpoints, Event, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::discovery::ApiResource;
use serde_json::Value;
use weft_tests::pairs::Identity;

use super::asked::Asked;
use crate::planes::both::Both;

/// An object that the virtual API server has accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) asked: Asked,
    pub(super) uid: String,
}

/// What became of it, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// A pod that names its node, which there is not: no kubelet runs it, and neither does the host.
    LeftAlone,
    /// It is on the host, without what it asked for.
    Changed,
    /// An event refuses it by its field.
    Refused,
    /// It is on the host, with it.
    Reached,
}

/// Both sides at one time.
pub(super) struct Seen {
    /// Host objects by the kind and uid of their virtual ones.
    hosts: BTreeMap<(&'static str, String), Value>,
    /// Messages of refusals by the uid of the object that they are about.
    refusals: BTreeMap<String, Vec<String>>,
}

impl Seen {
    pub(super) async fn of(both: &Both) -> Result<Self> {
        let mut hosts = BTreeMap::new();
        for (kind, resource) in kinds() {
            let api: Api<DynamicObject> =
                Api::namespaced_with(both.host_client(), both.host_namespace(), &resource);
            for object in api.list(&ListParams::default()).await?.items {
                // A controller of the host copies annotations from Endpoints to slices: those are its own.
                let identity =
                    Identity::of(&object).filter(|identity| identity.kind.ends_with(&format!("/{kind}")));
                if let Some(uid) = identity.and_then(|identity| identity.uid) {
                    hosts.insert((kind, uid), serde_json::to_value(object)?);
                }
            }
        }
        let mut refusals = BTreeMap::<String, Vec<String>>::new();
        let events = Api::<Event>::all(both.virtual_client()).list(&ListParams::default()).await?;
        for event in events.items.into_iter().filter(|event| event.reason.as_deref() == Some("SyncRefused")) {
            let messages = refusals.entry(event.involved_object.uid.unwrap_or_default()).or_default();
            messages.extend(event.message);
        }
        Ok(Self { hosts, refusals })
    }

    /// What became of an object; nothing, while neither server shows it.
    pub(super) fn outcome(&self, accepted: &Accepted) -> Option<Outcome> {
        let Accepted { asked, .. } = accepted;
        let host = self.host(accepted);
        if host.is_some_and(|host| holds(host.pointer(&asked.at), &asked.value)) {
            return Some(Outcome::Reached);
        }
        let names_it = |message: &String| asked.fields().any(|field| message.contains(&field));
        if self.messages(accepted).iter().any(names_it) {
            return Some(Outcome::Refused);
        }
        if host.is_none() && asked.at == "/spec/nodeName" {
            return Some(Outcome::LeftAlone);
        }
        // A pod is there before its ephemeral container is.
        (host.is_some() && asked.ephemeral.is_none()).then_some(Outcome::Changed)
    }

    /// Whether there is a host object.
    pub(super) fn is_on_host(&self, accepted: &Accepted) -> bool {
        self.host(accepted).is_some()
    }

    /// What the object asks for, and what both sides show of it.
    pub(super) fn describe(&self, accepted: &Accepted) -> String {
        let Accepted { asked, .. } = accepted;
        let (kind, name, at, value) = (asked.kind, asked.name(), &asked.at, &asked.value);
        let host = match self.host(accepted) {
            Some(host) => format!("on the host with {}", host.pointer(at).unwrap_or(&Value::Null)),
            None => "not on the host".to_owned(),
        };
        format!("{kind} {name} {at} {value}: {host}, events {:?}", self.messages(accepted))
    }

    fn host(&self, accepted: &Accepted) -> Option<&Value> {
        self.hosts.get(&(accepted.asked.kind, accepted.uid.clone()))
    }

    fn messages(&self, accepted: &Accepted) -> &[String] {
        self.refusals.get(&accepted.uid).map_or(&[], Vec::as_slice)
    }
}

/// The kinds that are asked for.
pub(super) fn kinds() -> [(&'static str, ApiResource); 5] {
    [
        ("Pod", ApiResource::erase::<Pod>(&())),
        ("Service", ApiResource::erase::<Service>(&())),
        ("Endpoints", ApiResource::erase::<Endpoints>(&())),
        ("EndpointSlice", ApiResource::erase::<EndpointSlice>(&())),
        ("PersistentVolumeClaim", ApiResource::erase::<PersistentVolumeClaim>(&())),
    ]
}

/// Whether all of `asked` is in what was found: servers add defaults, and leave out what is nothing.
pub(super) fn holds(found: Option<&Value>, asked: &Value) -> bool {
    match (found, asked) {
        (None, asked) => asked.is_null(),
        (Some(Value::Object(found)), Value::Object(asked)) => {
            asked.iter().all(|(name, asked)| holds(found.get(name), asked))
        }
        (Some(Value::Array(found)), Value::Array(asked)) => {
            asked.iter().all(|asked| found.iter().any(|found| holds(Some(found), asked)))
        }
        (Some(found), asked) => found == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_servers_add_hides_nothing_that_was_asked_for() {
        let found = json!([{"name": "v", "hostPath": {"path": "/", "type": ""}}, {"name": "token"}]);
        assert!(holds(Some(&found), &json!([{"name": "v", "hostPath": {"path": "/"}}])));
        assert!(holds(Some(&found), &json!([{"name": "token", "hostPath": null}])));
        assert!(!holds(Some(&found), &json!([{"name": "v", "emptyDir": {}}])));
        assert!(!holds(Some(&json!("a")), &json!("b")) && !holds(None, &json!(true)));
    }
}
