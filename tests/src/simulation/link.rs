//! One syncer's way to one server: a request takes time on it, and what goes wrong comes over it here.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Service};

use super::frames::breakable;
use super::network::{Fault, Network, Passage, Side};
use crate::model::Model;

/// What a connection that breaks fails with.
pub(super) const RESET: &str = "connection reset by the simulation";

/// The way to one server; clones are the same way.
#[derive(Clone)]
pub(super) struct Link {
    side: Side,
    model: Model,
    network: Network,
    /// Number of the syncer that uses it.
    syncer: u64,
}

/// The body of an answer.
pub(super) type Reply = UnsyncBoxBody<Bytes, BoxError>;

impl Service<Request<Body>> for Link {
    type Response = Response<Reply>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let link = self.clone();
        Box::pin(async move { link.pass(request).await })
    }
}

impl Link {
    /// The way of a syncer to the server of a side.
    pub(super) fn new(side: Side, model: &Model, network: &Network, syncer: u64) -> Self {
        Self { side, model: model.clone(), network: network.clone(), syncer }
    }

    async fn pass(self, request: Request<Body>) -> Result<Response<Reply>, BoxError> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let is_write = head.method != Method::GET;
        let line = format!("{} {}", head.method, head.uri);
        let Passage { sent, to, back, fault } = self.network.enter(self.side, is_write);
        tokio::time::sleep(to).await;
        let end = |end: String| self.note(&line, is_write.then_some(&body), end);
        match fault {
            Some(Fault::LostBefore) => {
                end("lost before".to_owned());
                return Err(RESET.into());
            }
            Some(Fault::HangsBefore) => {
                end("hangs before".to_owned());
                return std::future::pending().await;
            }
            Some(Fault::Refused(code)) => {
                end(format!("refused with {code}"));
                tokio::time::sleep(back).await;
                return Ok(refusal(code));
            }
            Some(Fault::DiesBefore) => {
                end("dies before".to_owned());
                return self.die().await;
            }
            Some(Fault::Late(time)) => tokio::time::sleep(time).await,
            Some(Fault::Stale(writes)) => self.age(&mut head, writes)?,
            _ => {}
        }
        if self.network.is_cut(self.side, sent) {
            end("the server is away".to_owned());
            return Err(RESET.into());
        }
        if is_write {
            self.network.see(self.side, &head.method, head.uri.path(), &body, sent);
        }
        let is_watch = head.uri.query().is_some_and(|query| query.contains("watch=1"));
        let response = self.model.clone().call(Request::from_parts(head, Body::from(body.to_vec()))).await?;
        end(response.status().as_u16().to_string());
        tokio::time::sleep(back).await;
        match fault {
            _ if self.network.is_cut(self.side, sent) => Err(RESET.into()),
            Some(Fault::LostAfter) => Err(RESET.into()),
            Some(Fault::HangsAfter) => std::future::pending().await,
            Some(Fault::DiesAfter) => self.die().await,
            Some(Fault::RefusedAfter(code)) => Ok(refusal(code)),
            Some(Fault::Cut) if !is_watch => Ok(self.cut(response).await?),
            _ if is_watch => Ok(response.map(|body| breakable(body, self.network.breaks(self.side)))),
            _ => Ok(response.map(|body| body.map_err(|never| match never {}).boxed_unsync())),
        }
    }

    /// Has a list be answered as it was so many writes ago.
    fn age(&self, head: &mut Parts, writes: u64) -> Result<(), BoxError> {
        let is_first_page = |query: &str| query.contains("limit=") && !query.contains("continue=");
        if head.method == Method::GET && head.uri.query().is_some_and(is_first_page) {
            let revision = self.model.revision().saturating_sub(writes).max(1);
            let uri = format!("{}&resourceVersion={revision}&resourceVersionMatch=Exact", head.uri);
            head.uri = uri.parse()?;
        }
        Ok(())
    }

    /// No syncer sees what comes after its death.
    async fn die<T>(&self) -> T {
        self.network.died(self.syncer);
        std::future::pending().await
    }

    fn note(&self, line: &str, body: Option<&Bytes>, end: String) {
        let body = body.map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
        self.network.note(self.side, line.to_owned(), body, end);
    }

    /// Half of an answer, and then an error.
    async fn cut<B>(&self, response: Response<B>) -> Result<Response<Reply>, BoxError>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = response.into_parts();
        let whole = body.collect().await.map_err(Into::into)?.to_bytes();
        let half = whole.slice(..whole.len() / 2);
        let frames: [Result<Frame<Bytes>, BoxError>; 2] = [Ok(Frame::data(half)), Err(RESET.into())];
        Ok(Response::from_parts(head, StreamBody::new(futures::stream::iter(frames)).boxed_unsync()))
    }
}

fn refusal(code: u16) -> Response<Reply> {
    let reason = match code {
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status: Value = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "the simulation refuses it",
    });
    let mut response =
        Response::new(Full::from(status.to_string()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
