//! An API server for tests that answers from a script, so that what talks to servers is tested without one.
//!
//! It stands behind the real client: requests, replies, errors and streams are those of production.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::Api;

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Path without the query: `/api/v1/namespaces/team-a/pods`.
    pub(crate) path: String,
    /// Query as it was sent: `watch=1&resourceVersion=7`; empty without one.
    pub(crate) query: String,
    /// Whether it asked for metadata alone.
    pub(crate) is_for_metadata: bool,
    /// The body; null without one.
    pub(crate) body: Value,
}

impl Asked {
    /// Method and path: `PATCH /api/v1/nodes/a`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether the query has `parameter`, such as `watch=1`.
    pub(crate) fn has(&self, parameter: &str) -> bool {
        self.query.split('&').any(|found| found == parameter)
    }
}

type ReplyBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// What the server answers.
pub(crate) enum Answer {
    /// A whole reply.
    Reply(StatusCode, Value),
    /// A reply that comes in pieces, as a watch does; it ends when the sender is dropped, or after this time, and breaks with an
    /// error.
    Stream(mpsc::Receiver<Result<Bytes, std::io::Error>>, Option<Duration>),
    /// No answer, ever.
    Silence,
    /// No server.
    Away,
}

impl Answer {
    /// 200 with `value`.
    pub(crate) fn ok(value: Value) -> Self {
        Self::Reply(StatusCode::OK, value)
    }

    /// A failure as the API reports it, such as `(409, "AlreadyExists")`.
    pub(crate) fn failure(code: u16, reason: &str) -> Self {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
            "message": format!("the script says {reason}"),
        });
        Self::Reply(StatusCode::from_u16(code).unwrap(), status)
    }

    /// A stream, and the sender of its pieces.
    pub(crate) fn stream() -> (mpsc::Sender<Result<Bytes, std::io::Error>>, Self) {
        let (sender, receiver) = mpsc::channel(64);
        (sender, Self::Stream(receiver, None))
    }

    /// The same of a server that ends it after this time.
    pub(crate) fn stream_for(lifetime: Duration) -> (mpsc::Sender<Result<Bytes, std::io::Error>>, Self) {
        let (sender, receiver) = mpsc::channel(64);
        (sender, Self::Stream(receiver, Some(lifetime)))
    }
}

/// The requests that a scripted server has seen.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<Asked>>>);

impl Requests {
    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    /// Method and path of each, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.all().iter().map(Asked::line).collect()
    }

    /// The bodies of those that were sent with `method`, in order.
    pub(crate) fn bodies(&self, method: &Method) -> Vec<Value> {
        self.all().into_iter().filter(|asked| asked.method == *method).map(|asked| asked.body).collect()
    }
}

/// A connection to a server that answers each request by `answer`.
pub(crate) fn scripted<S>(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> (Api<S>, Requests) {
    let requests = Requests::default();
    let (seen, answer) = (requests.clone(), Arc::new(answer));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let asked = Asked {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                is_for_metadata: head.headers.get(header::ACCEPT).is_some_and(|accepted| {
                    accepted.as_bytes().starts_with(b"application/json;as=PartialObjectMetadata")
                }),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let answer = answer(&asked);
            seen.0.lock().unwrap().push(asked);
            respond(answer).await
        }
    });
    (Api::through(kube::Client::new(service, "default")), requests)
}

async fn respond(answer: Answer) -> std::io::Result<Response<ReplyBody>> {
    let (status, body) = match answer {
        Answer::Reply(status, value) => {
            let whole = http_body_util::Full::new(Bytes::from(serde_json::to_vec(&value).unwrap()));
            (status, whole.map_err(|never| match never {}).boxed_unsync())
        }
        Answer::Stream(receiver, lifetime) => {
            let end = Box::pin(async move {
                match lifetime {
                    Some(lifetime) => tokio::time::sleep(lifetime).await,
                    None => std::future::pending().await,
                }
            });
            let pieces = futures::stream::unfold((receiver, end), async |(mut receiver, mut end)| {
                let piece = tokio::select! {
                    biased;
                    piece = receiver.recv() => piece?,
                    () = &mut end => return None,
                };
                Some((piece.map(http_body::Frame::data), (receiver, end)))
            });
            (StatusCode::OK, StreamBody::new(pieces).boxed_unsync())
        }
        Answer::Silence => std::future::pending().await,
        Answer::Away => return Err(std::io::ErrorKind::ConnectionRefused.into()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}
