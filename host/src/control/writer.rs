//! What the control plane sends to the host: its own Secrets, their owner, and dry runs of Services. No other file of it
//! writes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde_json::{Map, Value, json};
use weft_core::context::Owner;
use weft_core::object::{Host, HostObject, ResourceType};

use crate::api::{self, Api};

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const INSTANCE: &str = "app.kubernetes.io/instance";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Our name in `managedFields`.
const FIELD_MANAGER: &str = "fieldManager=weft";

/// The Secrets of one virtual cluster on its host.
pub(super) struct Secrets<'a> {
    pub(super) host: &'a Api<Host>,
    pub(super) namespace: &'a str,
    /// Name of the virtual cluster.
    pub(super) cluster: &'a str,
    /// They go with it.
    pub(super) owner: &'a Owner,
}

/// What a Secret holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) data: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// A Secret as it stands on the host.
pub(super) struct Stored {
    pub(super) content: Content,
    /// The virtual cluster whose it is; none for a Secret that weft has not made.
    cluster: Option<String>,
    /// UID of the object that takes it along.
    owner: String,
    resource_version: String,
}

impl Stored {
    /// Whether it was made for the virtual cluster of this name.
    pub(super) fn is_of(&self, cluster: &str) -> bool {
        self.cluster.as_deref() == Some(cluster)
    }
}

impl Secrets<'_> {
    pub(super) async fn read(&self, name: &str) -> Result<Option<Stored>, api::Error> {
        match self.host.get(&resource(), self.namespace, name).await {
            Ok(object) => Ok(Some(stored(&object))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a Secret that is `before` on the host; a conflict if somebody else wrote it meanwhile.
    pub(super) async fn write(
        &self,
        name: &str,
        before: Option<&Stored>,
        content: &Content,
    ) -> Result<(), api::Error> {
        // A copy that was restored names an owner that is gone: the host would remove it.
        let is_same = |before: &Stored| before.content == *content && before.owner == self.owner.uid;
        if before.is_some_and(is_same) {
            return Ok(());
        }
        let collection = api::list_path(&resource(), self.namespace);
        let (method, path, format) = match before {
            None => (Method::POST, format!("{collection}?{FIELD_MANAGER}"), JSON),
            Some(_) => (Method::PATCH, format!("{collection}/{name}?{FIELD_MANAGER}"), MERGE_PATCH),
        };
        let body = self.body(name, before, content).to_string().into_bytes();
        self.host.send(api::request(method, &path, Some(format), body)).await.map(drop)
    }

    fn body(&self, name: &str, before: Option<&Stored>, content: &Content) -> Value {
        let version = before.map(|before| before.resource_version.as_str());
        let metadata = json!({
            "name": name,
            // None for a new one.
            "resourceVersion": version,
            "labels": {
                "app.kubernetes.io/name": "weft", INSTANCE: self.cluster, MANAGED_BY: "weft",
            },
            "annotations": content.annotations,
            "ownerReferences": [self.owner.reference()],
        });
        let mut data: Map<String, Value> = content
            .data
            .iter()
            .map(|(key, text)| (key.clone(), json!(BASE64_STANDARD.encode(text))))
            .collect();
        let gone = before.iter().flat_map(|before| before.content.data.keys());
        for key in gone.filter(|key| !content.data.contains_key(*key)) {
            data.insert(key.clone(), Value::Null);
        }
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data})
    }
}

/// The owner of what the virtual cluster has on the host; it is made where nobody has.
pub(super) async fn ensure_owner(
    host: &Api<Host>,
    namespace: &str,
    cluster: &str,
) -> Result<Owner, api::Error> {
    let config_maps = ResourceType::core("ConfigMap", "configmaps");
    let read = async || host.get(&config_maps, namespace, cluster).await.map(|found| Owner::of(&found));
    match read().await {
        Err(error) if error.is_not_found() => {}
        found => return found,
    }
    let path = format!("{}?{FIELD_MANAGER}", api::list_path(&config_maps, namespace));
    let body = Owner::object(cluster, namespace).into_json().to_string().into_bytes();
    match host.send(api::request(Method::POST, &path, Some(JSON), body)).await {
        Ok(reply) => api::decode(&reply).map(|made: HostObject| Owner::of(&made)),
        // The syncer was faster.
        Err(error) if error.is_already_exists() => read().await,
        Err(error) => Err(error),
    }
}

/// Has the host judge a Service without creating it.
pub(super) async fn dry_run(host: &Api<Host>, namespace: &str, service: &Value) -> Result<(), api::Error> {
    let services = ResourceType::core("Service", "services");
    let path = format!("{}?dryRun=All", api::list_path(&services, namespace));
    let body = service.to_string().into_bytes();
    host.send(api::request(Method::POST, &path, Some(JSON), body)).await.map(drop)
}

fn resource() -> ResourceType {
    ResourceType::core("Secret", "secrets")
}

fn stored(object: &HostObject) -> Stored {
    let texts = |fields: Option<&Map<String, Value>>| -> BTreeMap<String, String> {
        let texts = fields.into_iter().flatten();
        texts.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    // What is not text cannot be ours, and is made anew.
    let decoded = |text: &String| String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok();
    let data = texts(object.pointer("/data").and_then(Value::as_object));
    let data = data.into_iter().filter_map(|(key, text)| Some((key, decoded(&text)?))).collect();
    let is_ours = object.label(MANAGED_BY) == Some("weft");
    Stored {
        cluster: object.label(INSTANCE).filter(|_| is_ours).map(str::to_owned),
        owner: object.text("/metadata/ownerReferences/0/uid").unwrap_or_default().to_owned(),
        content: Content { data, annotations: texts(object.annotations()) },
        resource_version: object.text("/metadata/resourceVersion").unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::scripted::{Answer, Requests, scripted};

    const PATH: &str = "/api/v1/namespaces/team-a/secrets";

    fn content(pairs: &[(&str, &str)]) -> Content {
        let data = pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        Content { data, ..Content::default() }
    }

    /// Writes `content` where the host has `stored`.
    async fn write(stored: Option<Value>, content: &Content) -> Requests {
        let owner = Owner { name: "vc".to_owned(), uid: "uid-owner".to_owned() };
        let (host, requests) = scripted(move |asked| match (&stored, asked.method == Method::GET) {
            (Some(stored), true) => Answer::ok(stored.clone()),
            (None, true) => Answer::failure(404, "NotFound"),
            (_, false) => Answer::ok(asked.body.clone()),
        });
        let secrets = Secrets { host: &host, namespace: "team-a", cluster: "vc", owner: &owner };
        let before = secrets.read("vc-pki").await.unwrap();
        secrets.write("vc-pki", before.as_ref(), content).await.unwrap();
        requests
    }

    #[tokio::test]
    async fn a_secret_is_created_once_and_goes_with_its_owner() {
        let requests = write(None, &content(&[("ca.crt", "text")])).await;
        assert_eq!(requests.lines(), [format!("GET {PATH}/vc-pki"), format!("POST {PATH}")]);
        let body = &requests.bodies(&Method::POST)[0];
        assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], "uid-owner");
        assert_eq!(body["data"]["ca.crt"], BASE64_STANDARD.encode("text"));
    }

    #[tokio::test]
    async fn a_change_is_a_patch_of_the_version_that_was_read_and_the_same_content_is_not_written() {
        let stored = json!({
            "metadata": {
                "name": "vc-pki", "resourceVersion": "7", "ownerReferences": [{"uid": "uid-owner"}],
                "labels": {INSTANCE: "vc", MANAGED_BY: "weft"},
            },
            "data": {"a": BASE64_STANDARD.encode("1"), "old": BASE64_STANDARD.encode("2")},
        });
        let requests = write(Some(stored.clone()), &content(&[("a", "1"), ("old", "2")])).await;
        assert_eq!(requests.lines(), [format!("GET {PATH}/vc-pki")]);
        let mut restored = stored.clone();
        restored["metadata"]["ownerReferences"][0]["uid"] = json!("uid-of-before");
        let requests = write(Some(restored), &content(&[("a", "1"), ("old", "2")])).await;
        assert_eq!(requests.lines()[1..], [format!("PATCH {PATH}/vc-pki")], "a restored copy gets its owner");
        let requests = write(Some(stored), &content(&[("a", "3")])).await;
        let body = &requests.bodies(&Method::PATCH)[0];
        assert_eq!((&body["metadata"]["resourceVersion"], &body["data"]["old"]), (&json!("7"), &Value::Null));
    }
}
