//! One API server as the measuring client uses it: plain JSON requests, and watches read line by line.

use anyhow::{Context as _, Result, bail};
use futures::{AsyncBufReadExt as _, StreamExt as _};
use kube::Client;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use weft_tests::planes::Plane;

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Lists without specs, for counting.
const NAMES_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The pods of one namespace of one server.
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
    namespace: String,
}

/// What is read of a pod; the rest is skipped, so that the client stays cheap.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    pub(crate) status: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) uid: String,
    resource_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) node_name: String,
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

/// One line of a watch.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) r#type: String,
    pub(crate) object: Pod,
}

#[derive(Debug, Deserialize)]
struct List {
    metadata: Metadata,
    /// Lists of names are null when empty.
    items: Option<Vec<Pod>>,
}

impl Pod {
    /// What the client named it by: the tag of its image, which no syncer changes.
    pub(crate) fn tag(&self) -> Option<&str> {
        let image = &self.spec.containers.first()?.image;
        image.rsplit_once(':').map(|(_, tag)| tag)
    }

    /// Its status, as far as it is compared.
    pub(crate) fn status(&self) -> Status {
        let status = self.status.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok());
        status.unwrap_or_default()
    }
}

impl Status {
    /// Whether it serves.
    pub(crate) fn ready(&self) -> bool {
        self.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True")
    }

    /// What both sides must agree on, as a string.
    pub(crate) fn summary(&self) -> String {
        format!("{} {} ready: {}", self.phase, self.pod_ip, self.ready())
    }
}

impl Server {
    /// Prepares connections; as many are opened as there are requests in flight.
    pub(crate) async fn connect(plane: &Plane, namespace: &str) -> Result<Self> {
        Ok(Self { client: plane.client_as("bench").await?, namespace: namespace.to_owned() })
    }

    /// Creates a pod given as JSON.
    pub(crate) async fn create(&self, pod: Vec<u8>) -> Result<Pod> {
        let reply = self.send("POST", &self.pods_path(), JSON, pod).await?;
        Ok(serde_json::from_str(&reply)?)
    }

    /// Says where a pod runs.
    pub(crate) async fn bind(&self, name: &str, node: &str) -> Result<()> {
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": self.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        self.send("POST", &format!("{}/{name}/binding", self.pods_path()), JSON, body.to_string().into())
            .await?;
        Ok(())
    }

    /// Gives a pod this status.
    pub(crate) async fn patch_status(&self, name: &str, status: &RawValue) -> Result<()> {
        let body = format!("{{\"status\":{status}}}");
        self.send("PATCH", &format!("{}/{name}/status", self.pods_path()), MERGE_PATCH, body.into()).await?;
        Ok(())
    }

    /// Deletes a pod with its own grace period, or with this one.
    pub(crate) async fn delete(&self, name: &str, grace: Option<u32>) -> Result<()> {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let (Some(grace), Some(options)) = (grace, options.as_object_mut()) {
            options.insert("gracePeriodSeconds".to_owned(), grace.into());
        }
        let path = format!("{}/{name}", self.pods_path());
        self.send("DELETE", &path, JSON, options.to_string().into()).await?;
        Ok(())
    }

    /// Creates an object in a list of the core API, such as `nodes`, unless it is there.
    pub(crate) async fn ensure(&self, plural: &str, object: &Value) -> Result<()> {
        let path = format!("/api/v1/{plural}");
        match self.try_send("POST", &path, JSON, object.to_string().into()).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("failed to create one of the {plural}")),
            Ok(_) => Ok(()),
        }
    }

    /// Anything, as JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let request = http::Request::get(path).header("Accept", JSON).body(Vec::new())?;
        let reply = self.client.request_text(request).await;
        Ok(serde_json::from_str(&reply.with_context(|| format!("failed to read {path}"))?)?)
    }

    /// All pods.
    pub(crate) async fn pods(&self) -> Result<Vec<Pod>> {
        Ok(self.list("", JSON).await?.items.unwrap_or_default())
    }

    /// How many there are, and their names.
    pub(crate) async fn names(&self) -> Result<Vec<String>> {
        let items = self.list("", NAMES_ONLY).await?.items.unwrap_or_default();
        Ok(items.into_iter().map(|pod| pod.metadata.name).collect())
    }

    /// Where a watch may begin: now.
    pub(crate) async fn version(&self) -> Result<String> {
        Ok(self.list("?limit=1", NAMES_ONLY).await?.metadata.resource_version)
    }

    /// Sends every change after `version` to `sink`; resumes when the server ends the watch.
    pub(crate) async fn watch(self, mut version: String, mut sink: impl FnMut(Event)) -> Result<()> {
        loop {
            let path = format!("{}?watch=true&resourceVersion={version}", self.pods_path());
            let request = http::Request::get(path).header("Accept", JSON).body(Vec::new())?;
            let stream = self.client.request_stream(request).await.context("failed to watch the pods")?;
            let mut lines = stream.lines();
            while let Some(Ok(line)) = lines.next().await {
                let event: Event = serde_json::from_str(&line)?;
                if event.r#type == "ERROR" {
                    bail!("the watch of the pods failed: {line}");
                }
                version.clone_from(&event.object.metadata.resource_version);
                sink(event);
            }
        }
    }

    async fn list(&self, query: &str, accept: &str) -> Result<List> {
        let path = format!("{}{query}", self.pods_path());
        let request = http::Request::get(path).header("Accept", accept).body(Vec::new())?;
        let reply = self.client.request_text(request).await.context("failed to list the pods")?;
        Ok(serde_json::from_str(&reply)?)
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Result<String> {
        let reply = self.try_send(method, path, content_type, body).await;
        reply.with_context(|| format!("{method} {path} failed"))
    }

    async fn try_send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> kube::Result<String> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Accept", JSON)
            .header("Content-Type", content_type)
            .body(body)
            .map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await
    }

    fn pods_path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }
}
