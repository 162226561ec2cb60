//! One API server: requests, replies, and errors that tell the caller what to do next.
//!
//! kube reads kubeconfigs, authenticates and speaks TLS; requests are plain HTTP with JSON bodies, so
//! that objects stay whole. Nothing here writes by itself: see `engine/apply.rs`.

mod buffered;
mod connect;
mod decode;
mod error;
mod gate;
mod path;
mod pool;
#[cfg(test)]
pub(crate) mod scripted;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use weft_core::context::Version;
use weft_core::object::{Object, ResourceType};

use crate::config::Connection;
pub(crate) use buffered::Buffered;
pub use connect::ConnectError;
pub use error::Error;
use error::refusal;
use gate::{Gate, Scope};
pub use path::{list_path, object_path};
pub use pool::Chunks;
use pool::Pool;

/// A request that got no reply by then is given up; watches have their own limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that has not answered the smallest question by then is away, or the connection to it is dead.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Four times the largest object there can be, with all its escapes: etcd takes 1.5 MiB. A page of a list that is larger is
/// asked for again at half its size, so this is what a list takes of memory.
pub(crate) const MAX_REPLY: usize = 64 * 1024 * 1024;

/// A connection to the API server of side `S`.
pub struct Api<S> {
    pool: Arc<Pool>,
    gate: Arc<Gate>,
    side: PhantomData<fn() -> S>,
}

impl<S> Clone for Api<S> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), gate: self.gate.clone(), side: PhantomData }
    }
}

impl<S> Api<S> {
    /// Prepares a connection; nothing is sent yet. `key` is what the configuration calls it.
    pub async fn connect(connection: &Connection, key: &'static str) -> Result<Self, ConnectError> {
        let connection = connection.clone();
        let pool = Pool::new(Box::new(move || {
            let connection = connection.clone();
            Box::pin(async move { connect::client(&connection, key).await })
        }));
        Ok(Self::of(pool.await?))
    }

    /// A server that is reached by this client for ever, as one in the same process is.
    pub fn through(client: kube::Client) -> Self {
        Self::of(Pool::of(client))
    }

    fn of(pool: Pool) -> Self {
        Self { pool: Arc::new(pool), gate: Arc::default(), side: PhantomData }
    }

    /// Sends a request and reads the whole reply.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Bytes, Error> {
        let scope = self.pass(&request).await?;
        let mut lease = self.pool.lease();
        let reply = lease.with(async |client| read(exchange(&client, request).await?.into_body()).await);
        let reply = tokio::time::timeout(REQUEST_TIMEOUT, reply).await.unwrap_or(Err(Error::Timeout));
        self.learn(scope, reply)
    }

    /// Sends a request and gives the reply's body as it comes; fails if the server refuses.
    pub async fn start(&self, request: Request<Vec<u8>>) -> Result<Chunks, Error> {
        let scope = self.pass(&request).await?;
        let mut lease = self.pool.lease();
        let response = lease.with(async |client| exchange(&client, request).await).await;
        self.learn(scope, response).map(|response| lease.chunks(response.into_body()))
    }

    /// Sends a request and gives the answer as it is, a refusal too. It is for what a person does at the other end: it waits for
    /// nothing, and ends neither with the client nor in time, as a terminal may be silent for hours.
    pub async fn relay(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.pool.client().send(request).await.map_err(transport)
    }

    /// Waits while the server is away; fails while it wants to be left alone, so that whoever waits can do something else.
    async fn pass(&self, request: &Request<Vec<u8>>) -> Result<Scope, Error> {
        self.gate.pass().await;
        let scope = Scope::of(request.method(), request.uri().path());
        match self.gate.rest(&scope) {
            Some(rest) => Err(Error::Resting(rest)),
            None => Ok(scope),
        }
    }

    /// Whether the server answers a GET of `path`, whatever the gate says: a caller asks this every few seconds. Where only
    /// the connections are dead, they are replaced, and what waits for them fails; so are credentials that are refused.
    pub async fn check(&self, path: &str) -> Result<(), Error> {
        let asked = self.pool.check(async |client| {
            let reply = async { read(exchange(&client, get(path)).await?.into_body()).await };
            tokio::time::timeout(CHECK_TIMEOUT, reply).await.unwrap_or(Err(Error::Timeout))
        });
        let asked = asked.await;
        if matches!(asked, Err(Error::Transport(_) | Error::Timeout)) {
            self.gate.missed();
        }
        asked.map(drop)
    }

    /// How often a request could not reach the server so far; those that fail together count once.
    pub fn outages(&self) -> u64 {
        self.gate.outages()
    }

    /// What one request learns of the server holds for all, or for all of its scope. That it got no reply in time says nothing
    /// of others: a webhook may hang.
    fn learn<T>(&self, scope: Scope, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Err(Error::Transport(_)) => self.gate.unreachable(),
            Err(Error::Timeout) => {}
            Err(Error::Status { code: 429 | 503, retry_after: Some(rest), .. }) => {
                self.gate.answered();
                self.gate.asked_for_rest(scope, *rest);
            }
            _ => self.gate.answered(),
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

/// A GET request.
pub fn get(path: &str) -> Request<Vec<u8>> {
    request(Method::GET, path, None, Vec::new())
}

/// A GET request for a list of objects that has their metadata alone.
/// Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches>.
pub fn get_metadata(path: &str) -> Request<Vec<u8>> {
    get_as(path, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
}

/// A GET request for a watch that shows the metadata of objects alone.
pub fn watch_metadata(path: &str) -> Request<Vec<u8>> {
    get_as(path, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
}

fn get_as(path: &str, accepted: &'static str) -> Request<Vec<u8>> {
    let mut request = get(path);
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static(accepted));
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
    // Every segment that is no constant was encoded: see `path.rs`.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    if let Some(content_type) = content_type {
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    }
    request
}

/// Reads an object off a reply, without the fields that nobody here needs.
pub fn decode<S>(body: &[u8]) -> Result<Object<S>, Error> {
    decode::object(body).map_err(Error::Decode)
}

async fn exchange(client: &kube::Client, request: Request<Vec<u8>>) -> Result<Response<Body>, Error> {
    let response = client.send(request.map(Body::from)).await.map_err(transport)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let (code, retry_after) = (response.status(), retry_after(&response));
    let body = read(response.into_body()).await.unwrap_or_default();
    Err(refusal(code, retry_after, &body))
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
    async fn a_wish_for_rest_is_limited_and_holds_for_a_kind_in_a_namespace() {
        for header in ["2000000000", "18446744073709551615"] {
            let (api, requests) =
                scripted::<weft_core::object::Host>(move |asked| match asked.path.as_str() {
                    "/api/v1/namespaces/a/pods/web" => {
                        let details =
                            serde_json::json!({"retryAfterSeconds": header.parse::<u64>().unwrap()});
                        let body = serde_json::json!({"reason": "TooManyRequests", "details": details});
                        Answer::Reply(http::StatusCode::TOO_MANY_REQUESTS, body)
                    }
                    _ => Answer::ok(serde_json::json!({"metadata": {"name": "web"}})),
                });
            let pods = ResourceType::core("Pod", "pods");
            let refused = api.get(&pods, "a", "web").await.unwrap_err();
            assert_eq!(refused.retry_after(), Some(error::LONGEST_REST));
            let rests = api.get(&pods, "a", "other").await.unwrap_err();
            assert_eq!(rests.retry_after(), Some(error::LONGEST_REST), "{rests}");
            assert!(api.get(&pods, "b", "web").await.is_ok(), "another namespace");
            assert_eq!(requests.lines().len(), 2, "{:?}", requests.lines());
            tokio::time::advance(error::LONGEST_REST).await;
            assert!(api.get(&pods, "a", "other").await.is_ok(), "its time is over");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_holds_no_other_back() {
        let (api, _) = scripted::<weft_core::object::Host>(|asked| match asked.path.as_str() {
            "/api/v1/namespaces/a/pods/web" => Answer::Silence,
            _ => Answer::ok(serde_json::json!({"metadata": {"name": "web"}})),
        });
        let pods = ResourceType::core("Pod", "pods");
        assert!(matches!(api.get(&pods, "a", "web").await, Err(Error::Timeout)));
        let started = tokio::time::Instant::now();
        assert!(api.get(&pods, "a", "other").await.is_ok());
        assert!(started.elapsed().is_zero(), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_never_answered_ends_in_time() {
        let (api, _) = scripted::<weft_core::object::Host>(|_| Answer::Silence);
        assert!(matches!(api.version().await, Err(Error::Timeout)));
    }
}
