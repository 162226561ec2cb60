//! One API server: requests, replies, and errors that tell the caller what to do next.
//!
//! kube reads kubeconfigs, authenticates and speaks TLS; requests are plain HTTP with JSON bodies, so
//! that objects stay whole. Nothing here writes by itself: see `engine/apply.rs`.

mod decode;
mod gate;
#[cfg(test)]
pub(crate) mod scripted;

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use weft_core::context::Version;
use weft_core::object::{Object, ResourceType};

use crate::config::Connection;
use gate::Gate;

/// A request that got no reply by then is given up; watches have their own limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// No object that etcd takes is larger than 1.5 MiB; a page of a list may be.
const MAX_REPLY: usize = 256 * 1024 * 1024;

/// A connection to the API server of side `S`.
pub struct Api<S> {
    client: kube::Client,
    gate: Arc<Gate>,
    side: PhantomData<fn() -> S>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error.
    #[error("the server answered {code} {reason}: {message}")]
    Status {
        /// HTTP status code.
        code: u16,
        /// Kubernetes' reason, such as `AlreadyExists`.
        reason: String,
        /// For people.
        message: String,
        /// The fields that were refused, in Kubernetes' notation.
        fields: Vec<String>,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// No reply.
    #[error("failed to reach the server")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No reply in time.
    #[error("the server gave no reply in {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// A reply that is not what was asked for.
    #[error("failed to read the server's reply")]
    Decode(#[source] serde_json::Error),
    /// A reply that is too large.
    #[error("the server's reply is larger than {MAX_REPLY} bytes")]
    TooLarge,
}

/// Why no connection could be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read.
    #[error("failed to read the kubeconfig {path}; check `{key}.kubeconfig`")]
    Kubeconfig {
        /// The file.
        path: String,
        /// `host` or `virtual`.
        key: &'static str,
        /// What is wrong.
        source: kube::config::KubeconfigError,
    },
    /// There is no kubeconfig and no service account.
    #[error("no `{key}.kubeconfig` is set and this is not a pod with a service account")]
    InCluster {
        /// `host` or `virtual`.
        key: &'static str,
        /// What is missing.
        source: kube::config::InClusterError,
    },
    /// The credentials cannot be used.
    #[error("failed to prepare the connection from `{key}`")]
    Client {
        /// `host` or `virtual`.
        key: &'static str,
        /// What is wrong.
        source: kube::Error,
    },
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
    #[serde(rename = "retryAfterSeconds")]
    retry_after_seconds: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cause {
    field: String,
}

impl<S> Clone for Api<S> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), gate: self.gate.clone(), side: PhantomData }
    }
}

impl<S> Api<S> {
    /// Prepares a connection; nothing is sent yet. `key` is what the configuration calls it.
    pub async fn connect(connection: &Connection, key: &'static str) -> Result<Self, ConnectError> {
        let mut config = match &connection.kubeconfig {
            Some(path) => from_kubeconfig(path, connection.context.clone(), key).await?,
            None => kube::Config::incluster().map_err(|source| ConnectError::InCluster { key, source })?,
        };
        // Retries are the queue's business: it knows what else is waiting.
        config.default_retry = false;
        // Watches are quiet for minutes; each has its own limit.
        config.read_timeout = None;
        let client = kube::Client::try_from(config).map_err(|source| ConnectError::Client { key, source })?;
        Ok(Self::from_client(client))
    }

    fn from_client(client: kube::Client) -> Self {
        Self { client, gate: Arc::default(), side: PhantomData }
    }

    /// Sends a request and reads the whole reply.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Bytes, Error> {
        self.gate.pass().await;
        let reply = async {
            let response = self.exchange(request).await?;
            read(response.into_body()).await
        };
        let reply = tokio::time::timeout(REQUEST_TIMEOUT, reply).await.unwrap_or(Err(Error::Timeout));
        self.learn(reply)
    }

    /// Sends a request and gives the reply's body as it comes; fails if the server refuses.
    pub async fn start(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, Error> {
        self.gate.pass().await;
        let response = self.exchange(request).await;
        self.learn(response)
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, Error> {
        let response = self.client.send(request.map(Body::from)).await.map_err(transport)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (code, retry_after) = (response.status(), retry_after(&response));
        let body = read(response.into_body()).await.unwrap_or_default();
        Err(refusal(code, retry_after, &body))
    }

    /// What one request learns of the server holds for all.
    fn learn<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Err(Error::Transport(_) | Error::Timeout) => self.gate.unreachable(),
            Err(Error::Status { code: 429 | 503, retry_after, .. }) => self.gate.answered(*retry_after),
            _ => self.gate.answered(None),
        }
        result
    }

    /// Reads one object.
    pub async fn get(
        &self,
        resource: &ResourceType,
        namespace: &str,
        name: &str,
    ) -> Result<Object<S>, Error> {
        self.send(get(&object_path(resource, namespace, name, None))).await.and_then(|body| decode(&body))
    }

    /// The server's version.
    pub async fn version(&self) -> Result<Version, Error> {
        let info: Value =
            serde_json::from_slice(&self.send(get("/version")).await?).map_err(Error::Decode)?;
        // Managed clusters say "28+".
        let number = |field: &str| {
            let text = info.get(field).and_then(Value::as_str).unwrap_or_default();
            text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default()
        };
        Ok(Version { major: number("major"), minor: number("minor") })
    }
}

impl Error {
    /// The HTTP status code, if the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The fields that the server refused, in Kubernetes' notation: none of them by name when it says that
    /// it failed, which is its answer to a taken `healthCheckNodePort`. `None` for all other errors.
    pub fn refused_fields(&self) -> Option<&[String]> {
        match self {
            Self::Status { code: 422, fields, .. } => Some(fields),
            Self::Status { code: 500, .. } => Some(&[]),
            _ => None,
        }
    }

    /// When the server wants to be asked again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the server says that an object of this name exists already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Status { reason, .. } if reason == "AlreadyExists")
    }

    /// Whether the object was changed, replaced or removed meanwhile.
    pub fn is_conflict(&self) -> bool {
        // A status patch that names another UID than the object has is answered with 422.
        let is_other = self.refused_fields().into_iter().flatten().any(|field| field == "metadata.uid");
        is_other || matches!(self, Self::Status { code: 409, reason, .. } if reason != "AlreadyExists")
    }

    /// Whether trying the same again can only give the same answer until something changes.
    pub fn is_refusal(&self) -> bool {
        matches!(self.code(), Some(400 | 403 | 405 | 413 | 415 | 422)) && !self.is_conflict()
    }
}

/// A GET request.
pub fn get(path: &str) -> Request<Vec<u8>> {
    request(Method::GET, path, None, Vec::new())
}

/// A GET request for the metadata of objects only.
pub fn get_metadata(path: &str) -> Request<Vec<u8>> {
    const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let mut request = get(path);
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static(METADATA));
    request
}

/// A request with a body of the given type.
pub fn request(
    method: Method,
    path: &str,
    content_type: Option<&'static str>,
    body: Vec<u8>,
) -> Request<Vec<u8>> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Paths are made of names that the API checked and of constants.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    if let Some(content_type) = content_type {
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    }
    request
}

/// URL path of all objects of a kind, in one namespace or everywhere.
pub fn list_path(resource: &ResourceType, namespace: &str) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let (version, plural) = (resource.api_version(), &resource.plural);
    if namespace.is_empty() {
        format!("{root}/{version}/{plural}")
    } else {
        format!("{root}/{version}/namespaces/{namespace}/{plural}")
    }
}

/// URL path of one object or of a subresource of it.
pub fn object_path(
    resource: &ResourceType,
    namespace: &str,
    name: &str,
    subresource: Option<&str>,
) -> String {
    let path = format!("{}/{name}", list_path(resource, namespace));
    match subresource {
        Some(subresource) => format!("{path}/{subresource}"),
        None => path,
    }
}

/// Reads an object off a reply, without the fields that nobody here needs.
pub fn decode<S>(body: &[u8]) -> Result<Object<S>, Error> {
    decode::object(body).map_err(Error::Decode)
}

async fn from_kubeconfig(
    path: &Path,
    context: Option<String>,
    key: &'static str,
) -> Result<kube::Config, ConnectError> {
    let wrong = |source| ConnectError::Kubeconfig { path: path.display().to_string(), key, source };
    let kubeconfig = kube::config::Kubeconfig::read_from(path).map_err(wrong)?;
    let options = kube::config::KubeConfigOptions { context, ..Default::default() };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)
}

async fn read(mut body: Body) -> Result<Bytes, Error> {
    let mut bytes = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(transport)?.into_data() {
            if bytes.len() + data.len() > MAX_REPLY {
                return Err(Error::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn refusal(code: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    let named = |text: String| {
        if text.is_empty() { code.canonical_reason().unwrap_or("error").to_owned() } else { text }
    };
    Error::Status {
        code: code.as_u16(),
        reason: named(status.reason),
        message: named(status.message),
        fields: status
            .details
            .causes
            .into_iter()
            .map(|cause| cause.field)
            .filter(|field| !field.is_empty())
            .collect(),
        retry_after: retry_after.or(status.details.retry_after_seconds.map(Duration::from_secs)),
    }
}

fn transport(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Transport(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use scripted::{Answer, scripted};

    #[tokio::test]
    async fn a_reply_is_read_and_a_refusal_is_an_error_with_its_code() {
        let (api, requests) = scripted(|asked| match asked.path.as_str() {
            "/api/v1/namespaces/a/secrets/there" => {
                Answer::ok(serde_json::json!({"metadata": {"name": "there"}}))
            }
            _ => Answer::failure(404, "NotFound"),
        });
        let secrets = ResourceType::core("Secret", "secrets");
        let found: Object<weft_core::object::Host> = api.get(&secrets, "a", "there").await.unwrap();
        assert_eq!(found.name(), "there");
        assert!(api.get(&secrets, "a", "gone").await.unwrap_err().is_not_found());
        assert_eq!(
            requests.lines(),
            ["GET /api/v1/namespaces/a/secrets/there", "GET /api/v1/namespaces/a/secrets/gone"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_never_answered_ends_in_time() {
        let (api, _) = scripted::<weft_core::object::Host>(|_| Answer::Silence);
        assert!(matches!(api.version().await, Err(Error::Timeout)));
    }

    #[test]
    fn a_patch_of_an_object_made_anew_is_a_conflict_and_no_refusal() {
        let of = |field: &str| {
            let body = serde_json::json!({"reason": "Invalid", "details": {"causes": [{"field": field}]}});
            refusal(StatusCode::UNPROCESSABLE_ENTITY, None, body.to_string().as_bytes())
        };
        assert!(of("metadata.uid").is_conflict() && !of("metadata.uid").is_refusal());
        assert!(!of("spec.containers").is_conflict() && of("spec.containers").is_refusal());
    }
}
