//! The model as a service of tower: requests and answers on the wire, and watches that come as they happen.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use tower::Service;

use super::Model;
use super::call::Call;
use super::refusal::Refusal;
use super::server::Answer;
use super::watch::{Step, Watching};

/// The body of an answer.
type Reply = UnsyncBoxBody<Bytes, Infallible>;

impl Service<Request<Body>> for Model {
    type Response = Response<Reply>;
    type Error = tower::BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let model = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            if head.uri.path() == "/version" {
                return Ok(model.respond(Ok(Answer::Whole(200, version()))));
            }
            let answer = Call::read(&head, &body).and_then(|call| model.answer(&call));
            Ok(model.respond(answer))
        })
    }
}

impl Model {
    pub(super) fn answer(&self, call: &Call) -> Result<Answer, Refusal> {
        let mut server = self.lock();
        let answer = server.answer(call);
        let revision = server.storage.revision();
        drop(server);
        self.revision.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
        answer
    }

    fn respond(&self, answer: Result<Answer, Refusal>) -> Response<Reply> {
        let (code, body) = match answer {
            Ok(Answer::Whole(code, value)) => (code, whole(&value)),
            Ok(Answer::Watch(watching)) => (200, self.clone().stream(watching)),
            Err(refusal) => (refusal.code, whole(&refusal.status())),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    }

    fn stream(self, watching: Watching) -> Reply {
        let frames = futures::stream::unfold((self, watching), async |(model, mut watching)| {
            let frame = model.next(&mut watching).await?;
            Some((Ok(Frame::data(line(&frame))), (model, watching)))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    async fn next(&self, watching: &mut Watching) -> Option<Value> {
        // Subscribed before the storage is read, so that no change comes in between unseen.
        let mut revision = self.revision.subscribe();
        loop {
            let step = watching.step(&self.lock());
            match step {
                Step::Frame(frame) => return Some(frame),
                Step::End => return None,
                Step::Wait(until) => {
                    tokio::select! {
                        _ = revision.changed() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
    }
}

/// The version that the model is held to.
fn version() -> Value {
    json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"})
}

fn whole(value: &Value) -> Reply {
    Full::new(line(value)).boxed_unsync()
}

fn line(value: &Value) -> Bytes {
    // JSON values cannot fail to serialise.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
